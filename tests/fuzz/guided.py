"""The Python parser under atheris, which looks for inputs that reach new code: `python -m fuzz.guided CORPUS OPTIONS`.

Options are libFuzzer's. The mutator is atheris's own, after which CRCs and flags are made right again, so that it gets
past them. Needs atheris (extra `fuzz`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fastlic.runtime.bitstream", "fastlic.runtime.tiles", "fuzz.parsing"]):
    from fuzz.parsing import parse

from fuzz.mutator import repaired
from fuzz.targets import BUNDLE, seeds

from fastlic.errors import FastlicError
from fastlic.runtime.bitstream import MAGIC, VERSION
from fastlic.runtime.bundle import Bundle

_bundle = Bundle(BUNDLE)
_MAGIC_AND_VERSION = MAGIC + bytes([VERSION])


def parse_any(data: bytes) -> None:
    """Anything but the parser's own errors is a finding."""
    try:
        parse(data, _bundle)
    except FastlicError:
        return


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change a file, and most often make it plausible again."""
    changed: bytes = atheris.Mutate(data, max_size)
    if seed % 8 == 0 or len(changed) < 48:
        return changed
    if seed % 3:
        head = bytearray(changed)
        head[:9], head[16:24] = _MAGIC_AND_VERSION, _bundle.fingerprint
        head[9] = int(any(head[36:40]))
        changed = bytes(head)
    for section in ("metadata", "index", "header"):
        changed = repaired(changed, section)
    return changed


def main() -> None:
    """Write the seeds into the corpus, then hand over to libFuzzer."""
    corpus = next((Path(word) for word in sys.argv[1:] if not word.startswith("-")), None)
    if corpus is not None:
        corpus.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(seeds()):
            (corpus / f"seed-{number}").write_bytes(data)
    atheris.Setup(sys.argv, parse_any, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
