"""`fastlic bench`: how fast students decode here, beside other codecs, with what a reader needs to trust the figures.

Knows options and the order of work; the modules beside it measure, and `tables`, `page` and `document` show.
"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fastlic.runtime.cli.console import note

Seconds = Annotated[float, typer.Option(min=0.0, help="Least time to measure each figure for.")]


def command(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BUNDLE] [IMAGES or SIZES]...", help="Students (.licb), pictures, sizes like 1920x1080."
        ),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Engine, or `all`; repeat for several. `fastlic doctor` lists them.")
    ] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="Threads; repeat for several. 1 and one per core by default.")
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option(help="Codec to decode beside ours, or `all`; repeat for several.")
    ] = None,
    throughput: Annotated[bool, typer.Option("--throughput", help="Several callers and batches too.")] = False,
    kernels: Annotated[bool, typer.Option("--kernels", help="Single kernels beside the machine's limits too.")] = False,
    seconds: Seconds = 3.0,
    count: Annotated[int, typer.Option(min=1, help="Least number of decodes for each figure.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the comparison with peers.")] = 5,
    json: Annotated[Path | None, typer.Option(help="Write every figure as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots, one file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Put the tables into a document, between its `bench:` marks.")
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="Only this table or plot goes into the document; repeat for several.")
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="Compare ratios with an earlier --json, and warn.")] = None,
) -> None:
    """Measure decoding: latency by stage, growth, memory, cold start, throughput, and other codecs beside it."""
    from rich.console import Console

    from fastlic.benchmarks import guard, run, tables
    from fastlic.benchmarks.sampling import Effort
    from fastlic.benchmarks.subjects import size_of
    from fastlic.runtime.engines import usable_cores

    sizes = [size for size in map(size_of, what or []) if size]
    paths = [Path(text) for text in what or [] if not size_of(text)]
    bundles: list[Path | None] = [path for path in paths if path.suffix == ".licb"]
    asked = run.Asked(
        bundles=bundles or [None],
        pictures=[path for path in paths if path.suffix != ".licb"],
        sizes=sizes,
        engines=_engines(engine or ["auto"]),
        threads=threads or sorted({1, usable_cores()}),
        peers=_peers(peer or []),
        throughput=throughput,
        kernels=kernels,
        effort=Effort(warm_up_count=min(3, count), seconds=seconds, count=count),
        rounds=rounds,
    )
    console = Console(width=None if sys.stdout.isatty() else 160)
    with tempfile.TemporaryDirectory(prefix="fastlic-bench-") as folder, _progress() as say:
        report = run.measure(asked, Path(folder), _typed(sys.argv[1:]), say)
    tables.show(report, console)
    if json is not None:
        from fastlic.benchmarks.measure import save

        save(json, report.to_json())
    if html is not None:
        from fastlic.benchmarks.page import write_page

        write_page(report, html)
    if markdown is not None:
        from fastlic.benchmarks.document import update

        update(report, markdown, table or ())
    if baseline is not None:
        for line in guard.compare(report, baseline):
            note(line)
    if report.not_run:
        raise typer.Exit(1)


def _typed(arguments: list[str]) -> str:
    """The command without this machine's folders."""
    return f"fastlic {shlex.join(Path(each).name if '/' in each else each for each in arguments)}"


def _engines(asked: list[str]) -> list[str]:
    from fastlic.runtime import engines

    return list(engines.names()) if "all" in asked else asked


def _peers(asked: list[str]) -> list[str]:
    from fastlic.benchmarks.peers.catalogue import PEERS, QUICK

    found: list[str] = []
    for name in asked:
        found += list(PEERS) if name == "all" else list(QUICK) if name == "quick" else [name]
    return list(dict.fromkeys(found))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """One line on standard error that says what is measured now; nothing where that is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("fastlic bench") as status:
        yield status.update
