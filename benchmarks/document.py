"""A report's tables and plots in a Markdown document, each between marks, with command, machine and date.

    <!-- bench:comparison -->
    (replaced by each run that has this table)
    <!-- /bench -->

Knows the marks; `tables` and `plots` know what stands between them. A plot is written beside a document that links
`bench-NAME.svg`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fastlic.benchmarks.plots import plots, standalone
from fastlic.benchmarks.report import Report
from fastlic.benchmarks.tables import tables
from fastlic.errors import FastlicError
from fastlic.runtime.files import write_atomically

_OUTPUTS = ("json", "html", "markdown", "table", "baseline")
"""Options that say where figures go, which is of no interest beside them."""
_MARKED = re.compile(r"<!-- bench:([a-z-]+) -->\n.*?<!-- /bench -->", re.DOTALL)


class NoMarks(FastlicError):
    """The document has no place for any of the tables; the message says what a place looks like."""


def update(report: Report, path: Path, wanted: Sequence[str] = ()) -> None:
    """Replace what stands between the marks of the tables that this run has.

    Args:
        report: of this run.
        path: the document.
        wanted: names of tables; empty: every one.

    Raises:
        NoMarks: nothing was replaced.
        OSError: the document cannot be read or written.
    """
    made = {table.name: table.to_markdown() for table in tables(report) if not wanted or table.name in wanted}
    replaced: list[str] = []

    def replacement(found: re.Match[str]) -> str:
        name = found[1]
        if name not in made:
            return found[0]
        replaced.append(name)
        return f"<!-- bench:{name} -->\n{_source(report)}\n\n{made[name]}\n<!-- /bench -->"

    text = _MARKED.sub(replacement, path.read_text(encoding="utf-8"))
    if not replaced:
        names = ", ".join(made) or "anything"
        raise NoMarks(f"{path} has no place for {names}. Add lines `<!-- bench:NAME -->` and `<!-- /bench -->`.")
    for plot in plots(report):
        name = f"bench-{plot.name}.svg"
        if f"({name})" in text and (not wanted or plot.name in wanted):
            write_atomically(path.with_name(name), standalone(plot).encode())
    write_atomically(path, text.encode())


def _source(report: Report) -> str:
    """The command as a code block, then machine and date."""
    host = report.host
    load = "" if host["load"] is None else f", load average {host['load']} at the beginning"
    command = re.sub(rf" --(?:{'|'.join(_OUTPUTS)})[ =]\S+", "", report.command)
    machine = f"{host['processor']}, {host['cores']} cores, ONNX Runtime {host['onnxruntime']}"
    return f"    {command}\n\n{host['date']}, {machine}{load}."
