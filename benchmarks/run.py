"""One run of the benchmark: everything that was asked for, one after the other.

Knows the order, and that one failure costs one row; the modules it calls know how to measure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from fastlic.benchmarks import subjects
from fastlic.benchmarks.comparison import Decode, Times, alternate, compare
from fastlic.benchmarks.latency import Student, encode, measure_latency, measure_throughput, our_contestant, our_worker
from fastlic.benchmarks.peers.catalogue import PEERS, Peer
from fastlic.benchmarks.peers.environment import PeerUnavailable, Worker
from fastlic.benchmarks.report import NotRun, PeerRow, Report
from fastlic.benchmarks.sampling import Effort
from fastlic.runtime.engines import usable_cores

OURS = "fastlic"
BATCHES = (1, 8)
TYPICAL = 768 * 512
"""Pixels of the picture that throughput is measured with, or the one nearest to it."""

Say = Callable[[str], None]
"""Tells the user what is measured now."""


@dataclass(frozen=True)
class Asked:
    """What to measure; see the options of `fastlic bench`."""

    bundles: Sequence[Path | None]
    pictures: Sequence[Path]
    sizes: Sequence[tuple[int, int]]
    engines: Sequence[str]
    threads: Sequence[int]
    peers: Sequence[str]
    throughput: bool
    kernels: bool
    effort: Effort
    rounds: int


def measure(asked: Asked, folder: Path, command: str, say: Say) -> Report:
    """Measure everything; what cannot be run is in the report's `not_run`.

    Args:
        asked: what.
        folder: for pictures and files; may be deleted afterwards.
        command: as typed, for the report's head.
        say: told about progress.
    """
    report = Report(command)
    say("pictures")
    found, failed = subjects.gather(asked.pictures, asked.sizes, folder)
    report.not_run += [NotRun(f"picture {name}", why) for name, why in failed.items()]
    students: list[Student] = []
    for bundle in asked.bundles if found else []:
        say(f"encoding with {bundle or 'the shipped student'}")
        with _row(report, f"student {bundle or 'as shipped'}"):
            students.append(encode(bundle, found, folder))
    for student in students:
        _latencies(report, asked, student, say)
        if asked.throughput:
            _throughputs(report, asked, student, say)
    if asked.peers and students:
        _comparison(report, asked, students[0], say)
    if asked.kernels:
        from fastlic.benchmarks.kernels import measure_kernels

        measure_kernels(report, asked.effort, say)
    return report


@contextmanager
def _row(report: Report, what: str) -> Iterator[None]:
    """Turn a failure into a line of the report."""
    try:
        yield
    except PeerUnavailable as reason:
        report.not_run.append(NotRun(what, str(reason)))


def _latencies(report: Report, asked: Asked, student: Student, say: Say) -> None:
    for engine in asked.engines:
        for threads in asked.threads:
            for file in student.files:
                what = f"{student.name}, {engine}, {threads} threads, {file.subject.name} {file.subject.size}"
                say(what)
                before = len(report.not_run)
                with _row(report, f"{student.name}, {engine}"):
                    report.latencies.append(measure_latency(student, file, engine, threads, asked.effort))
                if len(report.not_run) > before:  # an engine that cannot run would say so for every size
                    break
            else:
                if report.latencies and report.latencies[-1].device != "cpu":
                    break  # threads are the processor's: a GPU is measured once
                continue
            break


def _throughputs(report: Report, asked: Asked, student: Student, say: Say) -> None:
    cores = usable_cores()
    file = min(student.files, key=lambda file: abs(file.subject.pixels - TYPICAL))
    for engine in asked.engines:
        if any(row.what == f"{student.name}, {engine}" for row in report.not_run):
            continue
        for streams in sorted({1, cores, 2 * cores}):
            for batch in BATCHES:
                say(f"{student.name}, {engine}, {streams} callers, batches of {batch}")
                with _row(report, f"{student.name}, {engine}, {streams} callers"):
                    threads = max(1, cores // streams)
                    effort = replace(asked.effort, count=2)
                    report.throughputs.append(
                        measure_throughput(student, file, engine, threads, streams, batch, effort)
                    )


def _comparison(report: Report, asked: Asked, student: Student, say: Say) -> None:
    """Decode beside the peers with the first engine, the most threads and every picture."""
    threads = report.comparison_threads = max(asked.threads)
    pixels = sum(file.subject.pixels for file in student.files)
    pictures = [str(file.subject.path) for file in student.files]
    quality = fmean(file.psnr for file in student.files)
    rows: dict[str, tuple[str, str, float, float | None]] = {}
    contestants: dict[str, Decode] = {}
    with ExitStack() as stack:
        ours = stack.enter_context(our_worker())
        with _row(report, f"comparison with {student.name}"):
            info = our_contestant(ours, student, asked.engines[0], threads)
            bpp = 8 * sum(file.size for file in student.files) / pixels
            rows[OURS] = (student.name, f"{info['engine']} {info['version']}", bpp, quality)
            contestants[OURS] = _decode(ours)
        if not contestants:
            return
        for name in asked.peers:
            say(f"preparing {name}")
            with _row(report, f"peer {name}"):
                peer = _known(name)
                worker, answer = peer.open(pictures, threads, quality)
                stack.callback(worker.close)
                own = fmean(answer["psnr"]) if peer.real_files else None
                rows[name] = (peer.label, answer["version"], 8 * sum(answer["bytes"]) / pixels, own)
                contestants[name] = _decode(worker)
        say(f"decoding side by side with {len(contestants) - 1} peers")
        turns = alternate(contestants, len(pictures), Effort(0.0, 1, 0.0, asked.rounds))
    report.not_run += [NotRun(f"peer {name}", why) for name, why in turns.stopped.items()]
    for name, times in turns.times.items():
        if OURS in turns.times:
            report.comparison.append(PeerRow(name, *rows[name], *compare(turns.times[OURS], times)))


def _known(name: str) -> Peer:
    if name not in PEERS:
        raise PeerUnavailable(f"there is no peer {name!r}. Known: all, {', '.join(PEERS)}.")
    return PEERS[name]


def _decode(worker: Worker) -> Decode:
    return lambda number: Times(**worker.ask(do="decode", file=number))
