"""`python -m cluster.killed_transcodes` in the folder tests: kill workers of examples/ray_transcode.py, check results.

    python -m cluster.killed_transcodes --kills 10      what docs/embedding.md tells of

A local Ray cluster of a head without cores and two workers of one core each transcodes a folder. After a random number
of batches and a random time one of its decoding processes, a whole worker node or the run itself is killed (SIGKILL).
A killed run is started again; the others have to come to their end by themselves. Exit code 1: something was lost,
doubled, wrong or left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet
from PIL import Image

from fastlic.runtime.codec import Decoder, Encoder

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_transcode.py"
LIMIT = 300.0  # seconds that a run may take, on a busy machine
EDGE = 256  # pixels
DISTINCT = 8  # contents of the good files
DAMAGED = 7  # one file in so many
STORE = 80 * 2**20  # bytes of a node's object store, the least that Ray takes

Victim = Literal["actor", "node", "run"]


class Transcoding:
    """A folder of files, good and damaged, and a cluster that transcodes them.

    Args:
        folder: an empty one to work in.
        count: of files.
        seed: of the moments.
    """

    def __init__(self, folder: Path, count: int, seed: int = 1) -> None:
        self.inputs = folder / "in"
        self.good: dict[str, np.ndarray] = {}
        self.damaged: set[str] = set()
        self._random = random.Random(seed)
        self._folder = folder
        (self.inputs / "sub").mkdir(parents=True)
        with Encoder(threads=1) as encoder, Decoder(threads=1) as decoder:
            files = [encoder.encode(_picture(number)) for number in range(DISTINCT)]
            pixels = [decoder.decode(data) for data in files]
        for number in range(count):
            name = f"{'sub/' * (number % 2)}{number:03}.lic"
            data = files[number % DISTINCT]
            if number % DAMAGED == 3:
                self.damaged.add(name)
                data = data[: -4 * (1 + number % 5)]
            else:
                self.good[name] = pixels[number % DISTINCT]
            (self.inputs / name).write_bytes(data)

    @contextlib.contextmanager
    def cluster(self) -> Iterator[None]:
        """Two workers, until the block is left."""
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            self._nodes = [self._add_node() for _ in range(2)]
            yield
        finally:
            self._cluster.shutdown()

    def start(self, output: str, *options: str) -> subprocess.Popen[str]:
        """The example, on its way."""
        command = [sys.executable, str(EXAMPLE), str(self.inputs), output, "--address", self._cluster.address, *options]
        with (self._folder / "log").open("a") as log:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)

    def finish(self, child: subprocess.Popen[str]) -> str:
        """What a run says at its end.

        Raises:
            AssertionError: it failed.
        """
        said, _ = child.communicate(timeout=LIMIT)
        log = (self._folder / "log").read_text()[-3000:]
        assert child.returncode == (1 if self.damaged else 0), f"exit code {child.returncode}: {said} {log}"
        return next(line for line in said.splitlines() if " decoded, " in line)  # among what Ray says of dead workers

    def killed(self, output: Path, victim: Victim, *options: str) -> str:
        """Run until the end, with one kill in the middle; what it says, or "late" when nothing was left to kill."""
        child = self.start(str(output), *options)
        batches = self._random.randint(1, 3)
        deadline = time.monotonic() + LIMIT
        while (
            child.poll() is None
            and time.monotonic() < deadline
            and len(list(output.glob("records/*.parquet"))) < batches
        ):
            time.sleep(0.005)
        time.sleep(self._random.uniform(0, 0.3))
        recorded = sum(pyarrow.parquet.read_metadata(path).num_rows for path in output.glob("records/*.parquet"))
        if child.poll() is not None or recorded >= len(self.good):
            self.finish(child)
            return "late"
        if victim == "run":
            child.kill()
            child.communicate()
            child = self.start(str(output), *options)
        elif victim == "node":
            node = self._nodes.pop(0)
            self._cluster.remove_node(node, allow_graceful=False)
            self._nodes.append(self._add_node())
        else:
            os.kill(self._random.choice(self.decoding()), signal.SIGKILL)
        return self.finish(child)

    def decoding(self) -> list[int]:
        """Processes of our own cluster that hold a decoder."""
        return [
            pid for pid, name in _descendants(os.getpid()) if name.startswith("ray::MapWorker(MapBatches(Transcode)")
        ]

    def check(self, output: Path, kind: str = "parquet") -> None:
        """Raise `AssertionError` unless every input is where it belongs, once, with the right pixels."""
        records, failures = _rows(output / "records"), _rows(output / "failed")
        for rows, expected in ((records, set(self.good)), (failures, self.damaged)):
            assert Counter(row["path"] for row in rows) == Counter(expected)
            for row in rows:
                assert row["sha256"] == hashlib.sha256((self.inputs / row["path"]).read_bytes()).hexdigest()
        for row in records:
            content = row["picture"]
            if kind != "parquet":
                assert content is None
                content = (output / "pictures" / row["path"]).with_suffix(f".{kind}").read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                assert (row["width"], row["height"]) == image.size
                np.testing.assert_array_equal(np.asarray(image), self.good[row["path"]])
        for row in failures:
            assert row["error"] in ("TruncatedStream", "CorruptedStream")
            assert row["message"]
        found = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
        wanted = {path.relative_to(output).as_posix() for path in output.glob("*/*.parquet")}
        if kind != "parquet":
            wanted |= {f"pictures/{name.removesuffix('.lic')}.{kind}" for name in self.good}
        assert found == wanted, f"left behind or missing: {found ^ wanted}"

    def _add_node(self) -> Any:
        return self._cluster.add_node(num_cpus=1, object_store_memory=STORE)


def _picture(seed: int) -> np.ndarray:
    rows, columns = np.mgrid[:EDGE, :EDGE]
    noise = np.random.default_rng(seed).normal(0, 8, (EDGE, EDGE, 3))
    waves = np.stack([np.sin(rows / (9 + 4 * k) + seed) + np.cos(columns / (7 + 5 * k) - k) for k in range(3)], -1)
    return np.clip(128 + 40 * waves + noise, 0, 255).astype(np.uint8)


def _rows(folder: Path) -> list[dict[str, Any]]:
    tables = [pyarrow.parquet.read_table(path) for path in folder.glob("*.parquet")]
    return [row for table in tables for row in table.to_pylist()]


def _descendants(root: int) -> list[tuple[int, str]]:
    """(process, command line) of what `root` started, and of what that did."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            pid, stat = int(entry.name), (entry / "stat").read_text()
            parents[pid] = int(stat.rpartition(")")[2].split()[1])
            names[pid] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    ours = {root}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return [(pid, names[pid]) for pid in sorted(ours) if pid in names]


def main() -> None:
    """Print what was killed; leave with code 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--files", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--victims", nargs="+", default=["actor", "node", "run"])
    asked = parser.parse_args()
    start, counts = time.perf_counter(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        work = Transcoding(Path(folder), asked.files, asked.seed)
        with work.cluster():
            while sum(counts.values()) - counts["late"] < asked.kills:
                number = sum(counts.values())
                victim, kind = asked.victims[number % len(asked.victims)], ("parquet", "png")[number % 2]
                output = Path(folder, f"out{number}")
                said = work.killed(output, victim, "--format", kind)
                work.check(output, kind)
                counts["late" if said == "late" else victim] += 1
                print(f"{kind:8} {'late' if said == 'late' else victim:6} {said}", flush=True)
    print(f"{dict(counts)}, {asked.files} files each, {time.perf_counter() - start:.0f} s: all complete and correct")


if __name__ == "__main__":
    main()
