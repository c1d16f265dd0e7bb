"""Through a list of jobs: progress, failures that do not stop the rest, reports.

Knows what is printed and when to leave with which exit code; knows nothing of what a job does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import typer

from fastlic.errors import FastlicError, OutputExists
from fastlic.runtime.cli.console import Record, complain, describe_error, print_fields, print_json
from fastlic.runtime.cli.jobs import Job, expand


def run(
    jobs: Sequence[Job],
    work: Callable[[Job], Record],
    *,
    verb: str,
    line: Callable[[Record], str],
    as_json: bool,
    force: bool,
) -> None:
    """Do all jobs; a failing one is reported and the others go on.

    Args:
        work: does one job, raises `FastlicError` or `OSError`, returns what to report.
        verb: for the progress bar, such as "encoding".
        line: a record as one greppable line.
        force: replace existing files.

    Raises:
        typer.BadParameter: reports in JSON and a result would share standard output.
        typer.Exit: code 1, when a job failed.
    """
    data_on_stdout = any(job.target is None for job in jobs)
    if as_json and data_on_stdout:
        raise typer.BadParameter("--json and the result cannot both go to standard output; name a file (-o FILE).")

    def do(job: Job) -> Record:
        if job.target is not None and job.target.exists() and not force:
            raise OutputExists(f"{job.target} exists. Replace it with --force.")
        return work(job)

    def show(record: Record) -> None:
        print(line(record), file=sys.stderr if data_on_stdout else sys.stdout)

    quiet = as_json or data_on_stdout or len(jobs) == 1
    _each(jobs if quiet else _with_progress(jobs, verb), do, print_json if as_json else show, as_json)


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
    _each(jobs, lambda job: describe(job.name, job.read()), print_json if as_json else print_fields, as_json)


def _each(jobs: Iterable[Job], do: Callable[[Job], Record], show: Callable[[Record], None], as_json: bool) -> None:
    """Do and show every job; report those that fail, and leave with code 1 if any did."""
    done = failed = 0
    for job in jobs:
        try:
            show(do(job))
            done += 1
        except BrokenPipeError:
            raise  # nobody reads the reports any more
        except (FastlicError, OSError, MemoryError) as error:
            failed += 1
            complain(error, job.name)
            if as_json:
                print_json({"source": job.name, "error": type(error).__name__, "message": describe_error(error)})
    if done + failed > 1 and failed:
        print(f"fastlic: {failed} of {done + failed} failed", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _with_progress(jobs: Sequence[Job], verb: str) -> Iterator[Job]:
    """The jobs, with a progress bar where a person is looking."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield from jobs
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(jobs, verb, console=Console(stderr=True), transient=True)
