"""Through a list of jobs: progress, failures that do not stop the rest, files finished before, reports.

Knows what is printed and when to leave with which exit code; knows nothing of what a job does.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import typer

from fastlic.errors import FastlicError, OutputExists
from fastlic.runtime.cli.console import Record, complain, describe_error, note, print_fields, print_json
from fastlic.runtime.cli.jobs import Job, Plan, expand
from fastlic.runtime.files import remove_partial

if TYPE_CHECKING:
    from fastlic.runtime.cli.journal import Journal

Outcomes = Generator[tuple[Job, Callable[[], Record]], None, None]
"""Jobs, each with a function that returns its record or raises what kept it from being done."""

_SKIPPED = "skipped"
"""Field of the record of a file that was finished before."""

_QUEUE = 4
"""Jobs per thread that are taken ahead of being done, so that no thread waits for the reports."""

_NAMED_FAILURES = 20


def run(
    plan: Plan,
    work: Callable[[Job, bytes], tuple[bytes, Record]],
    *,
    settings: Callable[[], str],
    verb: str,
    line: Callable[[Record], str],
    as_json: bool,
    force: bool,
    workers: int = 1,
) -> None:
    """Do all jobs; a failing one is reported and the others go on. Of a bulk run, what is finished is not done again.

    Args:
        work: makes a result and what to report from a job and its input; raises `FastlicError` or `OSError`. The time
            is added to the report.
        settings: whatever else the results depend on, in words; only a bulk run asks for it.
        verb: for the progress bar, such as "encoding".
        line: a record as one greppable line.
        force: replace existing files, but for those that are finished.
        workers: threads that do jobs; with several, reports come as jobs end.

    Raises:
        typer.BadParameter: reports in JSON and a result would share standard output.
        typer.Exit: code 1, when a job failed.
        FolderInUse: another bulk run writes into the folder.
    """
    jobs = plan.jobs
    data_on_stdout = any(job.target is None for job in jobs)
    if as_json and data_on_stdout:
        raise typer.BadParameter("--json and the result cannot both go to standard output; name a file (-o FILE).")

    def show(record: Record) -> None:
        if as_json:
            print_json(record)
        elif _SKIPPED not in record:
            print(line(record), file=sys.stderr if data_on_stdout else sys.stdout)

    with contextlib.ExitStack() as stack:
        journal = None
        if plan.folder is not None:
            from fastlic.runtime.cli.journal import Journal

            journal = stack.enter_context(Journal(plan.folder, settings()))
            remove_partial(job.target for job in jobs if job.target is not None)
        do = partial(_do, work=work, journal=journal, force=force)
        outcomes = _in_turn(jobs, do) if workers == 1 else _in_threads(jobs, do, workers)
        if not (as_json or data_on_stdout or len(jobs) == 1):
            outcomes = _with_progress(outcomes, len(jobs), verb)
        _report(stack.enter_context(contextlib.closing(outcomes)), show, as_json)


def examine(
    paths: Sequence[str], describe: Callable[[str, bytes], Record], *, reads: Collection[str], as_json: bool
) -> None:
    """Print what `describe` (of a name and a content) says about each file, one field per line.

    Args:
        reads: suffixes of files that folders are searched for.

    Raises:
        typer.Exit: code 1, when a file could not be examined.
    """
    jobs = [Job(source, None) for path in paths for source, _ in expand(path, reads)]
    outcomes = _in_turn(jobs, lambda job: describe(job.name, job.read()))
    _report(outcomes, print_json if as_json else print_fields, as_json)


def _do(
    job: Job, *, work: Callable[[Job, bytes], tuple[bytes, Record]], journal: Journal | None, force: bool
) -> Record:
    """One job, unless it is finished; returns its record."""
    start = time.perf_counter()
    if job.target is not None and job.target.exists():
        if journal is not None and job.source is not None and journal.finished(job.source, job.target):
            return {"source": job.name, "target": job.target_name, _SKIPPED: True}
        if not force:
            raise OutputExists(f"{job.target} exists. Replace it with --force.")
    content = job.read()
    result, record = work(job, content)
    if journal is not None and job.target is not None:
        journal.add(job.target, content, result)
    job.write(result)
    return {**record, "seconds": round(time.perf_counter() - start, 3)}


def _in_turn(jobs: Sequence[Job], do: Callable[[Job], Record]) -> Outcomes:
    """Outcomes in order; each job is done when its outcome is asked for."""
    for job in jobs:
        yield job, partial(do, job)


def _in_threads(jobs: Sequence[Job], do: Callable[[Job], Record], workers: int) -> Outcomes:
    """Outcomes as jobs end. When the generator is closed, jobs in progress are waited for and the others dropped."""
    waiting = iter(jobs)
    running: dict[Future[Record], Job] = {}
    with ThreadPoolExecutor(workers, "fastlic-job") as pool:
        try:
            while True:
                for job in islice(waiting, _QUEUE * workers - len(running)):
                    running[pool.submit(do, job)] = job
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result
        finally:
            for future in running:
                future.cancel()


def _report(outcomes: Outcomes, show: Callable[[Record], None], as_json: bool) -> None:
    """Show what came of every job and sum up; leave with code 1 if one failed."""
    done = skipped = 0
    failures: list[str] = []
    for job, outcome in outcomes:
        try:
            record = outcome()
            show(record)
            done += 1
            skipped += _SKIPPED in record
        except BrokenPipeError:
            raise  # nobody reads the reports any more
        except (FastlicError, OSError, MemoryError) as error:
            failures.append(f"{job.name}: {type(error).__name__}")
            complain(error, job.name)
            if as_json:
                print_json({"source": job.name, "error": type(error).__name__, "message": describe_error(error)})
    count = done + len(failures)
    if skipped:
        note(f"{skipped} of {count} were finished before")
    if count > 1 and failures:
        note(f"{len(failures)} of {count} failed:")
        for failure in failures[:_NAMED_FAILURES]:
            note(f"  {failure}")
        if len(failures) > _NAMED_FAILURES:
            note(f"  and {len(failures) - _NAMED_FAILURES} more, named above")
    if failures:
        raise typer.Exit(1)


def _with_progress(outcomes: Outcomes, count: int, verb: str) -> Outcomes:
    """The outcomes, with a progress bar where a person is looking."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield from outcomes
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(outcomes, verb, total=count, console=Console(stderr=True), transient=True)
