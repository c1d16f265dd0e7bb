"""From command line arguments to a list of jobs, and through the list: files, folders, standard input and output.

Knows paths, progress and failures; knows nothing of pictures or codecs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from fastlic.errors import FastlicError, OutputExists
from fastlic.runtime.cli.console import Record, complain, describe_error, print_fields, print_json
from fastlic.runtime.files import write_atomically

STANDARD = "-"


@dataclass(frozen=True, slots=True)
class Job:
    """One input and where its output goes; None is standard input or output."""

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """What messages call the input."""
        return "standard input" if self.source is None else str(self.source)

    @property
    def target_name(self) -> str:
        """What reports call the output."""
        return "standard output" if self.target is None else str(self.target)

    def read(self) -> bytes:
        """The input's content."""
        return sys.stdin.buffer.read() if self.source is None else self.source.read_bytes()

    def write(self, content: bytes) -> None:
        """Give out the result, as a whole file or on standard output."""
        if self.target is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.target, content)


def plan(paths: Sequence[str], output: str | None, *, reads: Collection[str], writes: Sequence[str]) -> list[Job]:
    """The jobs that the arguments mean.

    A last path that looks like an output, as in `encode cat.png cat.lic`, is the output. A folder stands for all files
    below it whose suffix is in `reads`. Without an output, results lie beside their inputs.

    Args:
        reads: suffixes of inputs, with their dots, in lower case; only folders are filtered by them.
        writes: suffixes of outputs likewise; the first is given to results that need a name.

    Raises:
        typer.BadParameter: a folder without inputs, several inputs for one output, or an output that is an input.
    """
    inputs = list(paths)
    if output is None and len(inputs) > 1 and (inputs[-1] == STANDARD or Path(inputs[-1]).suffix.lower() in writes):
        output = inputs.pop()
    sources = [pair for path in inputs for pair in expand(path, reads)]
    into_folder = output not in (None, STANDARD) and _is_folder(str(output), len(sources), inputs)
    if output is not None and len(sources) > 1 and not into_folder:
        raise typer.BadParameter(
            f"{len(sources)} inputs do not fit into one output {output!r}; name a folder (-o FOLDER/)."
        )
    jobs = []
    for source, relative in sources:
        if output == STANDARD or (output is None and source is None):
            jobs.append(Job(source, None))
        elif output is None:
            assert source is not None
            jobs.append(Job(source, source.with_suffix(writes[0])))
        elif into_folder:
            jobs.append(Job(source, Path(output) / relative.with_suffix(writes[0])))
        else:
            jobs.append(Job(source, Path(output)))
    _refuse_collisions(jobs)
    return jobs


def expand(path: str, reads: Collection[str]) -> Iterator[tuple[Path | None, Path]]:
    """(input, its path relative to the folder that was named) for one argument; see `plan`."""
    if path == STANDARD:
        yield None, Path("stdin")
        return
    root = Path(path)
    if not root.is_dir():
        yield root, Path(root.name)
        return
    found = [entry for entry in sorted(root.rglob("*")) if entry.suffix.lower() in reads and entry.is_file()]
    if not found:
        raise typer.BadParameter(f"{path}: no file below this folder ends in {', '.join(sorted(reads))}.")
    for entry in found:
        yield entry, entry.relative_to(root)


def _is_folder(output: str, count: int, inputs: Sequence[str]) -> bool:
    """Whether the output is a folder: it is one, is written as one, or must be one for several or a folder's inputs."""
    path = Path(output)
    if path.is_dir() or output.endswith("/"):
        return True
    plural = count > 1 or any(Path(name).is_dir() for name in inputs)
    return plural and not path.suffix and not path.exists()


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    sources = {job.source.resolve() for job in jobs if job.source is not None}
    taken: dict[Path, Job] = {}
    for job in jobs:
        if job.target is None:
            continue
        target = job.target.resolve()
        if target in sources:
            raise typer.BadParameter(f"{job.target} is an input; choose another output.")
        if other := taken.get(target):
            raise typer.BadParameter(f"{other.name} and {job.name} would both be written to {job.target}.")
        taken[target] = job


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
        typer.Exit: code 1, when a job failed.
    """
    data_on_stdout = any(job.target is None for job in jobs)
    if as_json and data_on_stdout:
        raise typer.BadParameter("--json and the result cannot both go to standard output; name a file (-o FILE).")
    quiet = as_json or data_on_stdout or len(jobs) == 1
    failed = 0
    for job in _with_progress(jobs, verb, quiet):
        record = _attempt(job.name, partial(_do, job, work, force), as_json)
        if record is None:
            failed += 1
        elif as_json:
            print_json(record)
        else:
            print(line(record), file=sys.stderr if data_on_stdout else sys.stdout)
    _finish(failed, len(jobs))


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
    failed = 0
    for job in jobs:
        record = _attempt(job.name, partial(_examine, job, describe), as_json)
        if record is None:
            failed += 1
        elif as_json:
            print_json(record)
        else:
            print_fields(record)
    _finish(failed, len(jobs))


def _do(job: Job, work: Callable[[Job], Record], force: bool) -> Record:
    if job.target is not None and job.target.exists() and not force:
        raise OutputExists(f"{job.target} exists. Replace it with --force.")
    return work(job)


def _examine(job: Job, describe: Callable[[str, bytes], Record]) -> Record:
    return describe(job.name, job.read())


def _attempt(name: str, action: Callable[[], Record], as_json: bool) -> Record | None:
    """The action's record, or None once its failure has been reported."""
    try:
        return action()
    except (FastlicError, OSError, MemoryError) as error:
        complain(error, name)
        if as_json:
            print_json({"source": name, "error": type(error).__name__, "message": describe_error(error)})
        return None


def _finish(failed: int, count: int) -> None:
    if failed:
        if count > 1:
            print(f"fastlic: {failed} of {count} failed", file=sys.stderr)
        raise typer.Exit(1)


def _with_progress(jobs: Sequence[Job], verb: str, quiet: bool) -> Iterator[Job]:
    """The jobs, with a progress bar where a person is looking."""
    if quiet or not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield from jobs
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(jobs, verb, console=Console(stderr=True), transient=True)
