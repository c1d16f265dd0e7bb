"""From command line arguments to a list of jobs: files, folders, standard input and output.

Knows paths; knows nothing of pictures or codecs, nor of how jobs are done.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

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


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        jobs: in order.
        folder: the output folder of a bulk run, which can be resumed; None of a single input, and where results do not
            go into one folder.
    """

    jobs: list[Job]
    folder: Path | None = None


def plan(paths: Sequence[str], output: str | None, *, reads: Collection[str], writes: Sequence[str]) -> Plan:
    """The jobs that the arguments mean.

    The last of several paths can be the output, as in `encode cat.png cat.lic` or `decode DIR OUT`; `_last_is_output`
    has the rule. A folder stands for all files below it whose suffix is in `reads`. Without an output, results lie
    beside their inputs.

    Args:
        output: of the option; the last path is then an input like the others.
        reads: suffixes of inputs, with their dots, in lower case; only folders are filtered by them.
        writes: suffixes of outputs likewise; the first is given to results that need a name.

    Raises:
        typer.BadParameter: a folder without inputs, several inputs for one output, an output that is an input, or a
            last path that may be either or is neither.
    """
    inputs = list(paths)
    if output is None and len(inputs) > 1 and _last_is_output(inputs, reads, writes):
        output = inputs.pop()
    sources = [pair for path in inputs for pair in expand(path, reads)]
    into_folder = output not in (None, STANDARD) and _is_folder(str(output), len(sources), inputs)
    if output is not None and len(sources) > 1 and not into_folder:
        raise typer.BadParameter(
            f"{len(sources)} inputs do not fit into one output {output!r}; name a folder (-o FOLDER/)."
        )
    jobs = [Job(source, _target(source, relative, output, into_folder, writes[0])) for source, relative in sources]
    _refuse_collisions(jobs)
    bulk = into_folder and (len(inputs) > 1 or Path(inputs[0]).is_dir())
    return Plan(jobs, Path(str(output)) if bulk else None)


def expand(path: str, reads: Collection[str]) -> Iterator[tuple[Path | None, Path]]:
    """(input, its path relative to the folder that was named) for one argument; see `plan`."""
    if path == STANDARD:
        yield None, Path("stdin")
        return
    root = Path(path)
    if not root.is_dir():
        yield root, Path(root.name)
        return
    found = sorted(_files_below(root, reads))
    if not found:
        raise typer.BadParameter(f"{path}: no file below this folder ends in {', '.join(sorted(reads))}.")
    for entry in found:
        yield entry, entry.relative_to(root)


def _files_below(folder: Path, reads: Collection[str]) -> Iterator[Path]:
    return (entry for entry in folder.rglob("*") if entry.suffix.lower() in reads and entry.is_file())


def _last_is_output(paths: Sequence[str], reads: Collection[str], writes: Sequence[str]) -> bool:
    """Whether the last of several paths is the output.

    It is when it cannot be an input: "-", a name that ends like an output, a folder without inputs, or a folder still
    to be made, which must be named with a slash at its end where a single file comes before it. What it is must not
    depend on what happens to lie in a folder: one with inputs may be meant as either, and is refused.

    Raises:
        typer.BadParameter: it may be either, or is not there and does not look like an output.
    """
    last = paths[-1]
    path = Path(last)
    if last == STANDARD or path.suffix.lower() in writes:
        return True
    if path.is_dir():
        if any(_files_below(path, reads)):
            raise typer.BadParameter(
                f"{last}: this folder holds files to read, so it may be the last input or the output. "
                "Name the output with -o, or give each folder a command of its own."
            )
        return True
    if path.suffix.lower() in reads or path.exists():
        return False
    if last.endswith("/") or (not path.suffix and (len(paths) > 2 or Path(paths[0]).is_dir())):
        return True
    raise typer.BadParameter(f"{last}: there is no such file. If it is to be the output, name it with -o.")


def _target(source: Path | None, relative: Path, output: str | None, into_folder: bool, suffix: str) -> Path | None:
    """Where one input's result goes; None is standard output."""
    if output is None:
        return None if source is None else source.with_suffix(suffix)
    if output == STANDARD:
        return None
    return Path(output) / relative.with_suffix(suffix) if into_folder else Path(output)


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
