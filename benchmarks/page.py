"""A report as one HTML page that needs nothing else: plots inside, dark or light by the reader's system.

Knows the template's variables; `plots` draws and `tables` writes.
"""

from __future__ import annotations

from pathlib import Path

from fastlic.benchmarks.plots import palette_css, plots
from fastlic.benchmarks.report import Report
from fastlic.benchmarks.tables import tables
from fastlic.runtime.files import write_atomically

_TEMPLATE = Path(__file__).with_name("page.html.j2")


def write_page(report: Report, path: Path) -> None:
    """Write the page.

    Raises:
        OSError: it cannot be written.
        ModuleNotFoundError: jinja2 or matplotlib is missing; they come with `fastlic[bench]`.
    """
    write_atomically(path, page(report).encode())


def page(report: Report) -> str:
    """The page as text."""
    from jinja2 import Environment
    from markupsafe import Markup

    environment = Environment(autoescape=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        report=report,
        palette=Markup(palette_css()),
        facts=_facts(report),
        plots=list(plots(report)),
        tables=tables(report),
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    """The machine and the run, one line each."""
    host = report.host
    found = [
        ("date", host["date"]),
        ("processor", f"{host['processor']}, {host['cores']} cores"),
        ("system", host["system"]),
        ("software", f"Python {host['python']}, NumPy {host['numpy']}, ONNX Runtime {host['onnxruntime']}"),
        ("load at the beginning", str(host["load"]) if host["load"] is not None else "not readable here"),
    ]
    devices = sorted({row.device for row in report.latencies if row.device != "cpu"})
    if devices:
        found.append(("GPU", ", ".join(devices)))
    ranges = {tuple(row.clocks["processor_mhz"]) for row in report.latencies if row.clocks.get("processor_mhz")}
    clock = f"{min(low for low, _ in ranges):.0f} to {max(high for _, high in ranges):.0f} MHz" if ranges else None
    found.append(("processor's clock", clock or "not readable here"))
    students = {row.student for row in report.latencies}
    if students:
        found.append(("student", ", ".join(sorted(students))))
    return found
