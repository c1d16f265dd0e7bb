"""The exact graphs of a program: one per stage, and the one that adds means to symbols for the synthesis.

Knows ports and the packing of checkerboard halves; what is computed is defined by `lattices`, which is the oracle and
computes whole grids where these graphs compute the elements of their pass alone. Layers are `emission`'s matter.

Ports: latents int16 (C, h, w); parameters int16 (h, w', C', 3), a mixture of one normal component around 0 whose scale
is in 1 / 64; means and maps float32 that hold integers, (h, w', C') in 1 / 32 and (h, w, C).
Rule: docs/format.md, sections 2.2, 3 and 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto

from fastlic.export.integer.emission import (
    GraphBuilder,
    concatenated,
    displaced,
    emit_integers,
    emit_product,
    emit_rounding,
    emit_sum,
    interleaved,
    port,
)
from fastlic.export.integer.folding import HYPER_UNIT
from fastlic.export.integer.lattice import Layer, Product
from fastlic.export.integer.lattices import Lattice
from fastlic.export.integer.program import (
    MEAN_UNIT,
    REFINED_LIMIT,
    Hyper,
    Joined,
    Node,
    Parity,
    Program,
    Shifted,
    Stage,
)
from fastlic.runtime.entropy.tables import MAX_VALUE

NUMBERS = 3
"""Of an element: logit 0, mean 0, scale."""
SHIFTED = "y_hat"
"""What the synthesis sees of a latent that is coded around means."""


class _StageGraph:
    """One graph while it is made: map name -> tensor, (h, w, C), and which of them are packed, (h, w', C)."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice, self.build = lattice, GraphBuilder()
        self.inputs: dict[str, onnx.ValueInfoProto] = {}
        self.maps: dict[str, str] = {}
        self.packed: set[str] = set()
        self.channels: dict[str, int] = {}

    def latent(self, name: str, channels: int, size: tuple[str, str] = ("h", "w")) -> str:
        """An input of symbols; `size` names its rows and columns.

        A name stands for one number in all of a graph: ONNX Runtime reuses buffers by it.
        """
        self.inputs.setdefault(name, port(name, TensorProto.INT16, (channels, *size)))
        return name

    def integers(self, name: str, channels: int, columns: str = "w") -> str:
        """An input of integers in float32."""
        self.inputs.setdefault(name, port(name, TensorProto.FLOAT, ("h", columns, channels)))
        return name

    def enter(self, entry: Hyper | Shifted | Joined) -> None:
        """Make the map of an entry."""
        if isinstance(entry, Joined):
            self.maps[entry.name] = self.build.op("Concat", *(self.maps[part] for part in entry.parts), axis=2)
            self.channels[entry.name] = sum(self.channels[part] for part in entry.parts)
        elif isinstance(entry, Hyper):
            self._hyper(entry)
        else:
            self._shifted(entry)

    def _hyper(self, entry: Hyper) -> None:
        build, medians = self.build, self.lattice.medians[entry.name]
        limit = self.lattice.limits[entry.name]
        name = self.latent(entry.latent, len(medians), ("rows", "columns"))
        x = build.clip(build.op("Cast", name, to=TensorProto.FLOAT), -limit, limit)
        added = build.constant(medians.astype(np.float32)[:, None, None], f"{entry.name}.medians")
        x = build.op("Add", build.op("Mul", x, build.scalar(HYPER_UNIT)), added)
        self.maps[entry.name] = build.op("Transpose", x, perm=[1, 2, 0])
        self.channels[entry.name] = len(medians)

    def _shifted(self, entry: Shifted) -> None:
        build, (first, end) = self.build, entry.channels
        program = self.lattice.program
        count = max(stage.channels[1] for stage in program.stages if stage.latent == entry.latent)
        x = self.latent(entry.latent, count)
        if (first, end) != (0, count):
            x = build.slice(x, (0,), (first,), (end,))
        x = build.clip(build.op("Cast", x, to=TensorProto.FLOAT), -MAX_VALUE, MAX_VALUE)
        x = build.op("Transpose", build.op("Mul", x, build.scalar(MEAN_UNIT)), perm=[1, 2, 0])
        stages = [program.by_name[name] for name in entry.stages]
        means = {
            stage.parity: self.integers(stage.means_tensor, stage.count, "w" if stage.parity == "all" else "w_half")
            for stage in stages
            if stage.means
        }
        if means:
            x = build.op("Add", x, means["all"] if "all" in means else unpacked(build, means, end - first))
        limit = self.lattice.limits[entry.name]
        self.maps[entry.name], self.channels[entry.name] = build.clip(x, -limit, limit), end - first

    def layer(self, node: Node, stage: Stage) -> str:
        """The sum of a node's products, before it is rounded."""
        layer = self.lattice.layers[node.name]
        half = node.packed and stage.parity != "all"
        terms = []
        for number, product in enumerate(layer.products):
            source = node.inputs[product.source]
            if half and source in self.packed:
                x = self._channels(self.maps[source], source, product)
            else:
                x = self._neighbours(source, product, stage if half else None)
            terms.append(emit_product(self.build, x, layer, number))
        return emit_sum(self.build, terms, layer)

    def finish(self, node: Node, stage: Stage, total: str) -> None:
        """Round, and interleave phases."""
        layer = self.lattice.layers[node.name]
        channels = len(layer.bias)
        if node.onto:
            residual = self.build.clip(emit_integers(self.build, total, layer), -REFINED_LIMIT, REFINED_LIMIT)
            self.maps[node.name] = self.build.op("Add", self.maps[node.onto], residual)
            self.channels[node.name] = channels
            return
        x = emit_rounding(self.build, total, layer)
        if layer.upsample:
            channels //= 4
            x = interleaved(self.build, x, channels)
        self.maps[node.name], self.channels[node.name] = x, channels
        if node.packed and stage.parity != "all":
            self.packed.add(node.name)

    def numbers(self, stage: Stage, layer: Layer, total: str) -> None:
        """Make the outputs of a stage's last layer: parameters, and means."""
        build, count = self.build, stage.count
        x = emit_integers(build, total, layer)
        if stage.means:
            build.publish(build.slice(x, (2,), (count,), (0,)), stage.means_tensor)
            x = build.slice(x, (2,), (0,), (count,))
        x = build.op("Reshape", x, build.ints(0, 0, count, 1))
        x = build.op("Pad", x, build.ints(0, 0, 0, NUMBERS - 1, 0, 0, 0, 0))
        build.publish(build.op("Cast", x, to=TensorProto.INT16), stage.parameters_tensor)

    def _channels(self, x: str, source: str, product: Product) -> str:
        """The channels that a product reads; all of them unless it is one of several parts."""
        first, end = product.channels
        return x if (first, end) == (0, self.channels[source]) else self.build.slice(x, (2,), (first,), (end,))

    def _neighbours(self, source: str, product: Product, stage: Stage | None) -> str:
        """Each tap's displaced map side by side, on the whole grid or at the elements of a stage's pass."""
        x = self.maps[source]
        reach = max(max(abs(row), abs(column)) for row, column in product.taps)
        if stage is None and not reach:
            return self._channels(x, source, product)
        around = self.build.padded(x, reach)
        parts = [
            displaced(self.build, around, tap, reach, product.channels)
            if stage is None
            else at_parity(self.build, around, tap, reach, product.channels, stage.parity == "odd")
            for tap in product.taps
        ]
        return concatenated(self.build, parts)


def stage_graph(lattice: Lattice, stage: Stage) -> bytes:
    """Emit one stage. Inputs and outputs in the order of `ports_of`."""
    made = _StageGraph(lattice)
    for name in lattice.program.taken(stage):
        channels = _channels_of(lattice, name)
        made.maps[name], made.channels[name] = made.integers(name, channels), channels
    for entry in stage.entries:
        made.enter(entry)
    *nodes, last = stage.nodes
    for node in nodes:
        made.finish(node, stage, made.layer(node, stage))
    made.numbers(stage, lattice.layers[last.name], made.layer(last, stage))
    columns = "w" if stage.parity == "all" else "w_half"
    outputs = [port(stage.parameters_tensor, TensorProto.INT16, ("h", columns, stage.count, NUMBERS))]
    if stage.means:
        outputs.append(port(stage.means_tensor, TensorProto.FLOAT, ("h", columns, stage.count)))
    for name in lattice.program.kept(stage):
        if name not in made.inputs:
            made.build.publish(made.maps[name], name)
        outputs.append(port(name, TensorProto.FLOAT, ("h", "w", made.channels[name])))
    inputs, _ = ports_of(lattice.program, stage)
    return made.build.model(stage.name, [made.inputs[name] for name in inputs], outputs)


def closing_graph(lattice: Lattice) -> bytes:
    """Emit the closing stage: refined maps of all channels -> `SHIFTED`, float32 (C, h, w)."""
    closing = lattice.program.closing
    assert closing is not None
    made = _StageGraph(lattice)
    for name in lattice.program.taken(closing):
        channels = _channels_of(lattice, name)
        made.maps[name], made.channels[name] = made.integers(name, channels), channels
    for entry in closing.entries:
        made.enter(entry)
    for node in closing.nodes:
        made.finish(node, closing, made.layer(node, closing))
    build = made.build
    refined = build.op("Concat", *(made.maps[name] for name in refined_maps(lattice.program)), axis=2)
    scaled = build.op("Mul", build.op("Transpose", refined, perm=[2, 0, 1]), build.scalar(1 / MEAN_UNIT))
    build.publish(scaled, SHIFTED)
    inputs, _ = ports_of(lattice.program, closing)
    outputs = [port(SHIFTED, TensorProto.FLOAT, ("channels", "h", "w"))]
    return build.model(closing.name, [made.inputs[name] for name in inputs], outputs)


def refined_maps(program: Program) -> list[str]:
    """The maps that make up what the synthesis sees, in order of channels: one per refining layer."""
    return [node.name for node in program.nodes() if node.onto]


def ports_of(program: Program, stage: Stage) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a stage's inputs (latents, means, maps) and outputs (parameters, means, maps)."""
    entered = [entry for entry in stage.entries if not isinstance(entry, Joined)]
    means = [name for entry in entered if isinstance(entry, Shifted) for name in entry.stages]
    given = [program.by_name[name].means_tensor for name in means if program.by_name[name].means]
    inputs = (*(entry.latent for entry in entered), *given, *program.taken(stage))
    if stage is program.closing:
        return tuple(dict.fromkeys(inputs)), (SHIFTED,)
    outputs = (stage.parameters_tensor, *((stage.means_tensor,) if stage.means else ()), *program.kept(stage))
    return tuple(dict.fromkeys(inputs)), outputs


def shift_graph(stages: Sequence[Stage]) -> bytes:
    """Emit symbols + means: the latent int16 (C, h, w) and the means of all stages -> `SHIFTED`, float32 (C, h, w)."""
    build, channels = GraphBuilder(), max(stage.channels[1] for stage in stages)
    latent, groups = stages[0].latent, []
    for group in dict.fromkeys(stage.channels for stage in stages):
        means = {stage.parity: stage.means_tensor for stage in stages if stage.channels == group}
        groups.append(means["all"] if "all" in means else unpacked(build, means, group[1] - group[0]))
    means_map = build.op("Transpose", concatenated(build, groups), perm=[2, 0, 1])
    x = build.clip(build.op("Cast", latent, to=TensorProto.FLOAT), -MAX_VALUE, MAX_VALUE)
    build.publish(build.op("Add", x, build.op("Mul", means_map, build.scalar(1 / MEAN_UNIT))), SHIFTED)
    inputs = [port(latent, TensorProto.INT16, (channels, "h", "w"))]
    inputs += [
        port(stage.means_tensor, TensorProto.FLOAT, ("h", "w" if stage.parity == "all" else "w_half", stage.count))
        for stage in stages
    ]
    return build.model("shift", inputs, [port(SHIFTED, TensorProto.FLOAT, (channels, "h", "w"))])


def at_parity(
    build: GraphBuilder, padded: str, by: tuple[int, int], reach: int, channels: tuple[int, int], odd: bool
) -> str:
    """(h / 2 pairs of rows) the elements of one parity of the map that `by` points at, (h, w / 2, channels).

    Args:
        build: of the graph.
        padded: (h + 2 reach, w + 2 reach, C).
        by: (rows, columns).
        reach: of the padding.
        channels: [first, end).
        odd: whether (row + column) of the elements, before they are displaced, is odd.
    """
    rows = []
    for row, column in ((0, int(odd)), (1, int(not odd))):
        starts = (reach + row + by[0], reach + column + by[1])
        # From start, every second of an even number of elements: beyond the end where start - 2 reach is positive.
        ends = [min(start - 2 * reach, 0) for start in starts]
        part = build.slice(padded, (0, 1, 2), (*starts, channels[0]), (*ends, channels[1]), steps=(2, 2, 1))
        rows.append(part)
    width = channels[1] - channels[0]
    pairs = build.op("Concat", *rows, axis=1)  # each row of it is two rows of the result, one after the other
    pairs = build.op("Reshape", pairs, build.ints(0, 2, -1, width))
    return build.op("Reshape", build.op("Flatten", pairs, axis=2), build.ints(0, -1, width))


def unpacked(build: GraphBuilder, packed: Mapping[Parity, str], channels: int) -> str:
    """Halves of a checkerboard, (h, w / 2, channels) by parity, on one grid (h, w, channels); a missing one is zero."""
    some = next(iter(packed.values()))
    wanted: tuple[Parity, Parity] = ("even", "odd")
    halves = {parity: packed.get(parity) or build.op("Mul", some, build.scalar(0)) for parity in wanted}
    rows = []
    for row in (0, 1):
        pair = [build.slice(halves[parity], (0,), (row,), (0,), 2) for parity in wanted]
        columns = build.op("Concat", *(pair if row == 0 else pair[::-1]), axis=2)
        rows.append(build.op("Reshape", columns, build.ints(0, -1, channels)))
    pairs = build.op("Reshape", build.op("Concat", *rows, axis=1), build.ints(0, 2, -1, channels))
    return build.op("Reshape", build.op("Flatten", pairs, axis=2), build.ints(0, -1, channels))


def _channels_of(lattice: Lattice, name: str) -> int:
    """Channels of a map that an earlier stage made."""
    if name in lattice.layers:
        layer = lattice.layers[name]
        return len(layer.bias) // 4 if layer.upsample else len(layer.bias)
    entries = {entry.name: entry for stage in lattice.program.stages for entry in stage.entries}
    entry = entries[name]
    if isinstance(entry, Joined):
        return sum(_channels_of(lattice, part) for part in entry.parts)
    return len(entry.medians) if isinstance(entry, Hyper) else entry.channels[1] - entry.channels[0]
