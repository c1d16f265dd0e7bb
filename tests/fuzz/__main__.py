"""`python -m fuzz` in the folder tests: damaged and forged files through parser and decoder. Exit code 1: findings.

    python -m fuzz --seconds 60                                        what `make fuzz` does
    python -m fuzz --parser-inputs 2000000 --decode-inputs 100000      the campaign of docs/security.md

Time is shared by four parts: the Python parser beside the C library's, the whole decode, the C library under
sanitizers, and the Python parser under atheris. Numbers of inputs choose the first two alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fuzz import native
from fuzz.campaign import Campaign, ResidentMemory, TracedMemory, limited_memory
from fuzz.forger import Forger
from fuzz.mutator import Mutator
from fuzz.targets import MAP_BYTES, DecodeTarget, ParserTarget, compiled_library, seeds

FORGED_SHARE = 25  # one in so many inputs of the whole decode is forged, the others are mutated
TRACED = 10  # one in so many inputs of the parser has its memory traced
PARSER_MEMORY = 1 << 26  # bytes that all of them together may add to the process
PARTS = 4


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


@dataclass(frozen=True)
class Session:
    """The parts, each of which prints its figures and says whether nothing was found.

    Attributes:
        seconds: of each part; None where a number of inputs decides.
        seed: of the random numbers.
        keep: folder for inputs that went wrong.
    """

    seconds: float | None
    seed: int
    keep: Path

    def parser(self, count: int | None) -> bool:
        """The Python parser, held against the C library's."""
        with tempfile.TemporaryDirectory() as folder:
            library = compiled_library(Path(folder))
            print(f"parser  C library {'beside it' if library else 'left out: no C++ compiler'}", flush=True)
            parse = ParserTarget(library)
            campaign = Campaign(parse, parse.verify, TracedMemory(TRACED), parse.max_bytes, self.keep / "parser")
            with limited_memory(PARSER_MEMORY):
                figures = campaign.run(mutated(self.seed), count=count, seconds=self.seconds)
        print(*figures.lines("parser"), sep="\n", flush=True)
        return not figures.findings

    def decode(self, count: int | None) -> bool:
        """The whole decode."""
        decode = DecodeTarget()
        campaign = Campaign(decode, decode.verify, ResidentMemory(), decode.max_bytes, self.keep / "decode")
        figures = campaign.run(mutated_and_forged(decode, self.seed), count=count, seconds=self.seconds)
        print(*figures.lines("decode"), sep="\n", flush=True)
        return not figures.findings

    def sanitized(self) -> bool:
        """The C library under address and undefined behaviour sanitizers."""
        with tempfile.TemporaryDirectory() as folder:
            fuzzer = native.fuzzer(Path(folder))
            if fuzzer is None:
                print("native  left out: no C++ compiler with sanitizers")
                return True
            print(f"native  {'libFuzzer' if fuzzer.has_libfuzzer else 'inputs of the Python mutator'}", flush=True)
            inputs = mutated(self.seed + 2)
            text, is_clean = native.run(fuzzer, seeds(), inputs, self.seconds or 1.0, self.keep / "native")
        print(*(f"native  {line}" for line in text.splitlines()), sep="\n", flush=True)
        return is_clean

    def guided(self) -> bool:
        """The Python parser under atheris."""
        if find_spec("atheris") is None:
            print("atheris  left out: it is not installed (extra fuzz)")
            return True
        keep = self.keep / "atheris"
        keep.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "fuzz.guided", str(keep / "corpus"), f"-artifact_prefix={keep}/"]
        command += [f"-max_total_time={max(1, round(self.seconds or 1.0))}", "-timeout=2", "-print_final_stats=1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        printed = done.stderr.splitlines()
        shown = [line for line in printed if line.startswith("stat::")] if done.returncode == 0 else printed[-40:]
        print(*(f"atheris  {line}" for line in shown), sep="\n", flush=True)
        return done.returncode == 0


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, help="time of all parts together")
    parser.add_argument("--parser-inputs", type=int, help="inputs for the parser")
    parser.add_argument("--decode-inputs", type=int, help="inputs for the whole decode")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for inputs that went wrong")
    chosen = parser.parse_args()
    counted = chosen.parser_inputs is not None or chosen.decode_inputs is not None
    seconds = None if counted else (chosen.seconds or 60.0) / PARTS
    session = Session(seconds, chosen.seed, chosen.keep)
    clean = []
    if not counted or chosen.parser_inputs:
        clean.append(session.parser(chosen.parser_inputs))
    if not counted or chosen.decode_inputs:
        clean.append(session.decode(chosen.decode_inputs))
    if not counted:
        clean += [session.sanitized(), session.guided()]
    sys.exit(not all(clean))


if __name__ == "__main__":
    main()
