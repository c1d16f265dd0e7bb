"""`python -m hostile.out_of_memory` in the folder tests: decode with less and less memory, each in its own process.

    python -m hostile.out_of_memory 512 384 256 192 128 96 64 32 16       what docs/embedding.md tells of

A child process decodes a small picture, then lets its address space grow by so many MiB only (RLIMIT_AS) and decodes a
large picture; the small one again with the same decoder; both in a batch; and the small one once more without the
limit. It says what came of each: "right", or the error's class and message.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tiny_student

from fastlic.runtime.codec import Decoder, Encoder, Result

LARGE, SMALL = 1024, 64  # pixels of an edge
LIMIT = 120.0  # seconds that a child may take, on a busy machine

Outcomes = dict[str, str]
"""Keys: "large", "small" and "batch 0" to "batch 2" (small, large, small) with the limit, "after" without it."""


def write_files(folder: Path) -> None:
    """Encode the two pictures with the shipped student."""
    with Encoder(threads=1) as encoder:
        for name, edge in (("large", LARGE), ("small", SMALL)):
            (folder / f"{name}.lic").write_bytes(encoder.encode(tiny_student.picture(edge, edge)))


def outcomes(folder: Path, mebibytes: int) -> Outcomes:
    """What a child says.

    Raises:
        AssertionError: it died.
    """
    command = [sys.executable, "-m", "hostile.out_of_memory", "--child", str(folder), str(mebibytes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-1000:]}"
    said: Outcomes = json.loads(done.stdout)
    return said


def _child(folder: Path, mebibytes: int) -> Outcomes:
    large, small = ((folder / f"{name}.lic").read_bytes() for name in ("large", "small"))
    with Decoder(threads=1) as decoder:
        expected = decoder.decode(small)

        def judged(result: Result) -> str:
            if isinstance(result, Exception):
                return _named(result)
            return "right" if result.shape[0] == LARGE or np.array_equal(result, expected) else "WRONG"

        def tried(data: bytes) -> str:
            try:
                return judged(decoder.decode(data))
            except Exception as error:  # whatever it is shall be seen
                return _named(error)

        with_limit = _limited(mebibytes * 2**20)
        said = {"large": tried(large), "small": tried(small)}
        try:
            batch = decoder.decode_batch([small, large, small], on_error="return")
            said |= {f"batch {place}": judged(result) for place, result in enumerate(batch)}
        except Exception as error:
            said["batch"] = _named(error)
        with_limit()
        return said | {"after": tried(small)}


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _limited(more: int) -> Callable[[], None]:
    """Let the address space grow by so many bytes only; what is returned takes that back."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def main() -> None:
    """Print a line for each limit; leave with code 1 when a child died, or said what it must not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mebibytes", type=int, nargs="+")
    parser.add_argument("--child", type=Path, help="folder of the two files; used by this program itself")
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(_child(asked.child, asked.mebibytes[0])))
        return
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        for mebibytes in asked.mebibytes:
            try:
                said = outcomes(Path(folder), mebibytes)
                failed |= any(not typed(outcome) for outcome in said.values()) or said["after"] != "right"
                print(mebibytes, json.dumps(said), flush=True)
            except AssertionError as death:
                failed = True
                print(mebibytes, death, flush=True)
    sys.exit(failed)


def typed(outcome: str) -> bool:
    """Whether an outcome is one that the documentation allows: the right picture or `MemoryError`."""
    return outcome == "right" or outcome.startswith("MemoryError: ")


if __name__ == "__main__":
    main()
