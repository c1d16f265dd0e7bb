"""What `make gpu-check` found, as Markdown tables.

Knows the figures of `gpu_sections`' parts as they stand in the JSON; knows nothing of how they came about. A row that a
part did not get to is not in its table; the first table says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from fastlic.benchmarks.tables import Table

KERNEL_TARGETS = {"128 to 128 3x3, 192x128": 35e-6, "128 to 128 3x3, 384x256": 130e-6}
"""Seconds that `deform_conv2d` may take on an H200."""


class Found(Protocol):
    """A `gpu_sections.Part`."""

    name: str
    outcome: str
    detail: str
    seconds: float
    date: str
    figures: dict[str, Any]


def markdown(parts: Sequence[Found]) -> str:
    """Outcomes, kernels beside their floors, deformable convolutions beside others', decodes, and their stages."""
    by_name = {part.name: part for part in parts}
    device = by_name["gpu"].figures.get("device", "no GPU") if "gpu" in by_name else "no GPU"
    blocks = [f"`make gpu-check`, {device}", _outcomes(parts)]
    kernels = by_name.get("kernels")
    if kernels is not None and kernels.figures.get("rows"):
        blocks += [_limits(kernels.figures["limits"]), _kernels(kernels.figures["rows"])]
        blocks += _peers(kernels.figures["rows"])
    decodes = [part for part in parts if part.name.startswith("decode-") and part.figures.get("rows")]
    if decodes:
        blocks += [_decodes(decodes), *(_stages(part) for part in decodes)]
    return "\n\n".join(blocks) + "\n"


def _outcomes(parts: Sequence[Found]) -> str:
    rows = ((part.name, part.outcome, f"{part.seconds:.0f}", part.date, part.detail) for part in parts)
    return _table(("part", "outcome", "s", "date", "detail"), rows)


def _limits(limits: Mapping[str, float]) -> str:
    return "Limits measured first: " + ", ".join(f"{name} {value:.0f}" for name, value in limits.items()) + "."


def _kernels(rows: Sequence[Mapping[str, Any]]) -> str:
    """Ours beside the least time that the limits allow."""

    def cells(row: Mapping[str, Any]) -> Sequence[str]:
        seconds, floor = row["seconds"]["median"], row["limit"]
        return (
            row["kernel"], row["shape"], _spread(row["seconds"], 1e6, 1), f"{floor * 1e6:.1f}", row["bound"],
            f"{floor / seconds:.0%}" if seconds else "-",
        )  # fmt: skip

    head = ("kernel", "shape", "us, median (quartiles)", "floor us", "bound by", "of the floor")
    return _table(head, (cells(row) for row in rows if not _is_peer(row)))


def _peers(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Deformable convolutions of others, as times of ours on the same map."""
    ours = {row["shape"]: row for row in rows if row["kernel"] == "deform_conv2d" and not _is_peer(row)}
    peers = list(dict.fromkeys(row["by"] for row in rows if _is_peer(row)))
    theirs = {(row["by"], row["shape"]): row["seconds"]["median"] for row in rows if _is_peer(row)}

    def cells(shape: str, own: float) -> Iterator[str]:
        yield from (shape, f"{own * 1e6:.1f}", f"{KERNEL_TARGETS[shape] * 1e6:.0f}" if shape in KERNEL_TARGETS else "-")
        for peer in peers:
            other = theirs.get((peer, shape))
            yield f"{other * 1e6:.1f} ({other / own:.2f}x)" if other and own else "-"

    if ours:
        head = ("deform_conv2d", "fastlic us", "target on an H200", *peers)
        yield _table(head, (cells(shape, row["seconds"]["median"]) for shape, row in ours.items()))


def _is_peer(row: Mapping[str, Any]) -> bool:
    return row["by"].split()[0] in ("torchvision", "onnxruntime")


def _decodes(parts: Sequence[Found]) -> str:
    """Whole decodes, from a file in memory to pixels in host memory."""
    rows = (
        (part.name.removeprefix("decode-"), row["student"], row["picture"], str(row["bytes"]),
         _spread(row["whole"], 1e3, 2), _percentiles(row["whole"]), str(row["whole"]["count"]))
        for part in parts for row in part.figures["rows"]
    )  # fmt: skip
    return _table(("engine", "student", "picture", "bytes", "ms, p50 (quartiles)", "p90 / p95 / p99", "n"), rows)


def _percentiles(summary: Mapping[str, Any]) -> str:
    found = summary["percentiles"]
    return " / ".join(f"{found[p] * 1e3:.2f}" if p in found else "-" for p in ("90", "95", "99"))


def _stages(part: Found) -> str:
    """Stages one by one, each waited for."""
    columns = part.figures["rows"]
    names = list(dict.fromkeys(name for row in columns for name in row["stages"]))

    def cells(name: str) -> Iterator[str]:
        yield name
        yield from (_spread(row["stages"][name], 1e3, 3) if name in row["stages"] else "-" for row in columns)

    head = (f"{part.name.removeprefix('decode-')}, ms", *(f"{row['student']}, {row['picture']}" for row in columns))
    return _table(head, map(cells, names))


def _spread(summary: Mapping[str, Any], unit: float, digits: int) -> str:
    median, low, high = (f"{summary[key] * unit:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """What a reason or a student's name holds must not end a cell."""
    cells = [[" ".join(cell.replace("|", "/").split()) for cell in row] for row in rows]
    return Table("", "", head, cells).to_markdown()
