"""Entropy coding of the latents: tables, passes, the writer and the readers. Rule: docs/format.md, sections 3 and 4."""
