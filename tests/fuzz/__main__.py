"""`python -m fuzz` in the folder tests: mutated and forged files through parser and decoder. Exit code 1: findings.

python -m fuzz --seconds 60                                        what `make fuzz` does
python -m fuzz --parser-inputs 2000000 --decode-inputs 100000      the campaign of docs/security.md
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fuzz.campaign import Campaign, Figures, ResidentMemory, TracedMemory
from fuzz.forger import Forger
from fuzz.mutator import Mutator
from fuzz.targets import MAP_BYTES, DecodeTarget, ParserTarget, compiled_library, seeds

FORGED_SHARE = 25  # one in so many inputs of the whole decode is forged, the others are mutated


def mutated(seed: int) -> Iterator[bytes]:
    """Mutations of the seeds."""
    mutator = Mutator(seeds(), MAP_BYTES, seed)
    while True:
        yield mutator.next()


def mutated_and_forged(target: DecodeTarget, seed: int) -> Iterator[bytes]:
    """The same with valid files of any symbols among them."""
    forger = Forger(target.student, seed)
    for number, data in enumerate(mutated(seed + 1)):
        yield data if number % FORGED_SHARE else forger.next()[0]


def main() -> None:
    """Run both campaigns and print their figures."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, help="time for both together; alone it bounds both")
    parser.add_argument("--parser-inputs", type=int, help="inputs for the parser")
    parser.add_argument("--decode-inputs", type=int, help="inputs for the whole decode")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for inputs that went wrong")
    chosen = parser.parse_args()
    if chosen.seconds is None and chosen.parser_inputs is None and chosen.decode_inputs is None:
        chosen.seconds = 60.0
    half = None if chosen.seconds is None else chosen.seconds / 2
    figures: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        if half is not None or chosen.parser_inputs:
            library = compiled_library(Path(folder))
            print(f"C library  {'beside the Python parser' if library else 'left out: no C++ compiler'}", flush=True)
            parse = ParserTarget(library)
            campaign = Campaign(parse, parse.verify, TracedMemory(), parse.max_bytes, chosen.keep / "parser")
            figures["parser"] = campaign.run(mutated(chosen.seed), count=chosen.parser_inputs, seconds=half)
            print(*figures["parser"].lines("parser"), sep="\n", flush=True)
    if half is not None or chosen.decode_inputs:
        decode = DecodeTarget()
        campaign = Campaign(decode, decode.verify, ResidentMemory(), decode.max_bytes, chosen.keep / "decode")
        inputs = mutated_and_forged(decode, chosen.seed)
        figures["decode"] = campaign.run(inputs, count=chosen.decode_inputs, seconds=half)
        print(*figures["decode"].lines("decode"), sep="\n", flush=True)
    sys.exit(any(found.findings for found in figures.values()))


if __name__ == "__main__":
    main()
