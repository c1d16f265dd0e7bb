"""`python -m hostile.killed_runs` in the folder tests: kill bulk runs at random moments, resume, check the results.

    python -m hostile.killed_runs --kills 50      what docs/embedding.md tells of

A child process decodes a folder and is killed with SIGKILL after a random time; the next child resumes. When all files
are done, what the children have written is checked, and a new output folder is begun, so that every kill that counts
has left files to be done. Exit code 1: a result was missing or wrong, or something was left behind.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import tiny_student

from fastlic.runtime import pictures
from fastlic.runtime.codec import Decoder, Encoder

EDGE = 160  # pixels: a result of 77 kB takes as long to write as to decode
JOBS = 2
LIMIT = 60.0  # seconds that a run may take
FORMAT = "ppm"
EARLY = 5  # one kill in so many may come before the first file is done


@dataclass
class Figures:
    """What happened.

    Attributes:
        kills: that left files to be done.
        late: that came when all files were done; not counted above.
        folders: output folders that were finished and checked.
        torn: temporary files found right after a kill.
        unmoved: results that were in the journal and not in their place right after a kill.
        again: files that were decoded more than once.
    """

    kills: int = 0
    late: int = 0
    folders: int = 0
    torn: int = 0
    unmoved: int = 0
    again: int = 0


class Killing:
    """Bulk runs over one folder of files, which are killed.

    Args:
        folder: an empty one to work in.
        count: of files.
        seed: of the moments.
    """

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._folder = folder
        self._bundle = folder / "tiny.licb"
        self._bundle.write_bytes(tiny_student.bundle_bytes())
        self._inputs = folder / "in"
        self._inputs.mkdir()
        self._expected: dict[str, bytes] = {}
        with Encoder(self._bundle, threads=1) as encoder, Decoder(self._bundle, threads=1) as decoder:
            for number in range(count):
                data = encoder.encode(tiny_student.picture(EDGE, EDGE, seed=number))
                (self._inputs / f"{number:03}.lic").write_bytes(data)
                self._expected[f"{number:03}.{FORMAT}"] = pictures.to_bytes(decoder.decode(data), {}, f".{FORMAT}")
        self.figures = Figures()

    def run(self, kills: int) -> Figures:
        """Kill so many runs, then let the last one come to its end.

        Raises:
            AssertionError: a folder was not as it should be.
        """
        working = self._time_of_work()
        out = self._new_folder()
        while self.figures.kills < kills:
            killed = self._killed(out, working)
            if killed and self._look_at(out):
                self.figures.kills += 1
            else:
                self.figures.late += killed
                self._check(out)
                out = self._new_folder()
        child = self._start(out)
        assert child.wait(LIMIT) == 0, "the last resume failed"
        self._check(out)
        return self.figures

    def _start(self, out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fastlic", "decode", self._inputs, out, "-m", self._bundle, "--json"]
        options = ["--engine", "ort-cpu", "--jobs", str(JOBS), "--threads", "1", "--format", FORMAT]
        return subprocess.Popen([*map(str, command), *options], stdout=subprocess.PIPE)

    def _time_of_work(self) -> float:
        """Seconds between the first report and the last one of a run that is not killed."""
        out = self._new_folder()
        child = self._start(out)
        assert child.stdout is not None
        child.stdout.readline()
        start = time.perf_counter()
        child.stdout.read()
        seconds = time.perf_counter() - start
        assert child.wait(LIMIT) == 0, "a run that nobody disturbed failed"
        self._check(out)
        return seconds

    def _killed(self, out: Path, working: float) -> bool:
        """Start or resume a run and kill it; False when it came to its end before."""
        child = self._start(out)
        assert child.stdout is not None
        with child.stdout:
            if self._random.randrange(EARLY):
                child.stdout.readline()
                time.sleep(self._random.uniform(0, working))
            else:
                time.sleep(self._random.uniform(0, 0.5))  # while it starts
            child.kill()
            code = child.wait(LIMIT)
        assert code in (0, -9), f"a run ended with exit code {code}"
        return code == -9

    def _look_at(self, out: Path) -> int:
        """Count what the kill has left for the next run; returns how many files are to be done."""
        self.figures.torn += len(list(out.rglob("*.part")))
        done = {path.name for path in out.glob("[!.]*")}
        wrong = [name for name in done if (out / name).read_bytes() != self._expected[name]]
        assert not wrong, f"after a kill these results were in their place and wrong: {wrong}"
        self.figures.unmoved += len({line.split('"')[1] for line in _journal(out) if line.endswith("]")} - done)
        return len(self._expected) - len(done)

    def _check(self, out: Path) -> None:
        """A finished folder holds all results, the journal and nothing else."""
        results = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        assert results.keys() == self._expected.keys(), f"{out}: {sorted(results.keys() ^ self._expected.keys())}"
        wrong = [name for name, content in results.items() if content != self._expected[name]]
        assert not wrong, f"{out}: wrong results {wrong}"
        own = sorted(path.name for path in (out / ".fastlic").iterdir())
        assert own == ["finished.jsonl", "lock"], f"{out}/.fastlic: {own}"
        self.figures.folders += 1
        self.figures.again += len(list(filter(None, _journal(out)))) - len(self._expected)

    def _new_folder(self) -> Path:
        return self._folder / f"out{self.figures.folders}"


def _journal(out: Path) -> list[str]:
    path = out / ".fastlic" / "finished.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    """Print the figures; leave with code 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            figures = Killing(Path(folder), options.files, options.seed).run(options.kills)
        except AssertionError as failure:
            sys.exit(f"FAILED: {failure}")
    print(f"{figures}, {options.files} files each, {time.perf_counter() - start:.0f} s: all complete and correct")


if __name__ == "__main__":
    main()
