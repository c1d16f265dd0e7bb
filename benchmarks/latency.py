"""Our own decoder measured: latency with its stages, cold start and memory, and throughput.

Knows what to ask of `peers/fastlic_worker.py`; knows nothing of presentation. Every figure is of a process of its own,
so that neither memory nor a warm cache is inherited, and so that a crash costs one row.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastlic.benchmarks.clocks import ClockWatch, GaugeUnavailable, Gpu
from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.peers.catalogue import OURS_PROGRAM
from fastlic.benchmarks.peers.environment import Worker
from fastlic.benchmarks.report import Latency, Throughput
from fastlic.benchmarks.sampling import Effort
from fastlic.benchmarks.subjects import Subject


@dataclass(frozen=True)
class Encoded:
    """A subject's file by one student."""

    subject: Subject
    path: Path
    size: int
    psnr: float


@dataclass(frozen=True)
class Student:
    """A bundle and its files; the path None is the shipped student."""

    name: str
    bundle: Path | None
    files: Sequence[Encoded]


@contextmanager
def our_worker() -> Iterator[Worker]:
    """A process of fastlic's."""
    with Worker(Path(sys.executable), OURS_PROGRAM) as worker:
        yield worker


def encode(bundle: Path | None, subjects: Sequence[Subject], folder: Path) -> Student:
    """Encode every subject with one student, in another process than will decode.

    Raises:
        PeerUnavailable: the bundle cannot be used; the message says why.
    """
    target = folder / (bundle.stem if bundle else "shipped")
    target.mkdir(exist_ok=True)
    with our_worker() as worker:
        answer = worker.ask(
            do="encode", bundle=_text(bundle), pictures=[str(s.path) for s in subjects], folder=str(target)
        )
    files = [
        Encoded(subject, Path(file["path"]), file["bytes"], file["psnr"])
        for subject, file in zip(subjects, answer["files"], strict=True)
    ]
    return Student(answer["student"], bundle, files)


def measure_latency(student: Student, file: Encoded, engine: str, threads: int | None, effort: Effort) -> Latency:
    """Decode one file again and again.

    Raises:
        PeerUnavailable: the engine cannot run here, or the process ended; the message says why.
    """
    start = time.perf_counter()
    with our_worker() as worker:
        info = worker.ask(
            do="prepare", bundle=_text(student.bundle), engine=engine, threads=threads, files=[str(file.path)]
        )
        start_to_picture = time.perf_counter() - start
        with ClockWatch(_gpu_of(info["device"]), worker.process) as watch:
            found = worker.ask(do="sample", file=0, effort=effort.to_json())
        memory = worker.ask(do="memory")
    return Latency(
        student=student.name,
        **{key: info[key] for key in ("engine", "version", "device", "threads", "detail")},
        picture=file.subject.name,
        width=file.subject.width,
        height=file.subject.height,
        size_bytes=file.size,
        psnr=file.psnr,
        wall=Summary.of(found["wall"]),
        processor=Summary.of(found["processor"]),
        stages={name: Summary.of([row[name] for row in found["stages"]]) for name in found["stages"][0]},
        samples=found["wall"],
        cold={key: info[key] for key in ("import", "open", "first")},
        start_to_picture=start_to_picture,
        host_bytes=memory["host"],
        device_bytes=watch.seen.device_bytes,
        clocks=watch.seen.to_json(),
    )


def measure_throughput(
    student: Student, file: Encoded, engine: str, threads: int, streams: int, batch: int, effort: Effort
) -> Throughput:
    """Decode one file for throughput.

    Args:
        student: whose.
        file: which.
        engine: name.
        threads: of each decode.
        streams: callers at once.
        batch: files that each hands over at a time.
        effort: how long.

    Raises:
        PeerUnavailable: as `measure_latency`.
    """
    with our_worker() as worker:
        info = worker.ask(
            do="prepare", bundle=_text(student.bundle), engine=engine, threads=threads, files=[str(file.path)]
        )
        found = worker.ask(do="serve", streams=streams, batch=batch, effort=effort.to_json())
    return Throughput(
        student=student.name,
        engine=info["engine"],
        threads=info["threads"],
        streams=streams,
        batch=batch,
        picture=f"{file.subject.name} {file.subject.size}",
        pictures_per_second=found["pictures"] / found["seconds"],
        megapixels_per_second=found["pixels"] / found["seconds"] / 1e6,
    )


def _gpu_of(device: str) -> Gpu | None:
    if device == "cpu":
        return None
    try:
        return Gpu()
    except GaugeUnavailable:
        return None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def our_contestant(worker: Worker, student: Student, engine: str, threads: int) -> dict[str, Any]:
    """Make a worker ready to decode a student's files, for the comparison."""
    return worker.ask(
        do="prepare",
        bundle=_text(student.bundle),
        engine=engine,
        threads=threads,
        files=[str(file.path) for file in student.files],
    )
