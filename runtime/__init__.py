"""fastlic.runtime; see docs and the module docstrings inside."""

if not __name__.startswith("fastlic."):
    raise ImportError("this folder is the package fastlic.runtime: install fastlic and import it under that name")
