"""`manifest.json` of a bundle as typed structures.

Knows names and shapes of the manifest and the fingerprint over it; knows nothing of zip files or engines.
Rule: docs/format.md, sections 2.1 to 2.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from fastlic.errors import BundleError

FORMAT = (1, 0)

IMAGE = "image"
"""Name of the picture among the tensors of a schedule: uint8 (height, width, 3)."""

RATE = "rate"
"""Name of the rate that a student of several rates is asked for: int32 (1,), from 1; it has no rows and columns."""

Positive = Annotated[int, msgspec.Meta(ge=1, le=65536)]


class Latent(msgspec.Struct, frozen=True):
    """A tensor of symbols; `stride` is pixels per element."""

    channels: Positive
    stride: Positive
    channel_map: bool = False


class Port(msgspec.Struct, frozen=True):
    """An input or output of a graph; `stride` is pixels per element of its spatial axes."""

    name: str
    stride: Positive


class Pin(msgspec.Struct, frozen=True):
    """The one engine whose floating point `pinned` graphs were made for; `fastlic.runtime.pin` says how it is told."""

    engine: str
    version: str
    machine: str


class GraphSpec(msgspec.Struct, frozen=True):
    """One ONNX graph; `halo` is in pixels and matters for scope "picture" only.

    `exact`: equal bits on every engine; `pinned`: equal bits on the bundle's one engine, where exactness cannot be had.
    """

    file: str
    scope: Literal["tile", "picture"]
    exact: bool
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    halo: Annotated[int, msgspec.Meta(ge=0, le=65536)] = 0
    pinned: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether symbols may depend on this graph."""
        return self.exact or self.pinned


class Run(msgspec.Struct, frozen=True, tag="run", tag_field="step"):
    """Step: evaluate a graph on named tensors."""

    graph: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Code(msgspec.Struct, frozen=True, tag="code", tag_field="step"):
    """Step: entropy-code part of a latent (a pass)."""

    latent: str
    distribution: str
    channels: tuple[int, int]
    parity: Literal["all", "even", "odd"] = "all"
    parameters: str | None = None


class Shift(msgspec.Struct, frozen=True):
    """How an encoder gets the symbols of one pass around means: round(values - means / unit). Decoders ignore it.

    `step` is the pass's number in the schedule, `values` a float32 (C, h, w) tensor of the analysis, `means` a
    (h, w', C') tensor of whole numbers that an exact graph gives before the pass.
    """

    step: Annotated[int, msgspec.Meta(ge=0)]
    values: str
    means: str
    unit: Positive


class TableSpec(msgspec.Struct, frozen=True, tag="table", tag_field="kind"):
    """Member names of a `table` distribution, docs/format.md 4.1."""

    cdf: str
    window: str
    low: str


class MixtureSpec(msgspec.Struct, frozen=True, tag="mixture", tag_field="kind"):
    """Parameters and member names of a `mixture` distribution, docs/format.md 4.2."""

    families: tuple[Literal["normal", "laplace", "logistic"], ...]
    components: Positive
    skip_threshold: Annotated[int, msgspec.Meta(ge=1, le=65536)]
    exponential: str
    thresholds: str
    inverse_scale: str
    tail: str
    half_cdf: str


DistributionSpec = TableSpec | MixtureSpec


class Member(msgspec.Struct, frozen=True):
    """An entry of the archive; `size` in bytes, inflated."""

    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


class Vector(msgspec.Struct, frozen=True):
    """A conformance vector: the member that holds a `.lic` file, and the CRC-32 of the latents of each of its tiles."""

    lic: str
    symbol_crc: tuple[Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)], ...]


class Manifest(msgspec.Struct, frozen=True):
    """The whole manifest; free-form objects (`student`, `certificates`, `validation`) are for people and tools."""

    format: tuple[int, int]
    student: dict[str, Any]
    multiple: Positive
    latents: dict[str, Latent]
    graphs: dict[str, GraphSpec]
    schedule: tuple[Run | Code, ...]
    distributions: dict[str, DistributionSpec]
    members: dict[str, Member]
    analysis: tuple[Run, ...] = ()
    shifts: tuple[Shift, ...] = ()
    rates: Annotated[int, msgspec.Meta(ge=0, lt=65536)] = 0
    pin: Pin | None = None
    certificates: dict[str, Any] = {}
    validation: dict[str, Any] = {}
    conformance: tuple[Vector, ...] = ()

    @property
    def name(self) -> str:
        """The student's name."""
        return str(self.student["name"])

    @property
    def coded(self) -> dict[str, Latent]:
        """The latents in order of first coding: the order of channel maps and of the symbol checksum."""
        return {step.latent: self.latents[step.latent] for step in self.schedule if isinstance(step, Code)}

    @property
    def mapped(self) -> dict[str, int]:
        """Latent -> channels, for the latents with a channel map, in order of first coding."""
        return {name: latent.channels for name, latent in self.coded.items() if latent.channel_map}


def parse(text: bytes) -> Manifest:
    """Decode and check a manifest.

    Raises:
        BundleError: not JSON, a key missing or of a wrong type, an unknown major version, or a step that names what
            is not there.
    """
    try:
        head = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(f"manifest.json: {error}.") from None
    version = head.get("format")
    if not isinstance(version, list) or not version:
        raise BundleError("manifest.json: there is no format version; this is not a bundle's manifest.")
    if version[0] != FORMAT[0]:
        raise BundleError(
            f"manifest.json: format {version[0]!r}; this fastlic reads format {FORMAT[0]}. Update fastlic."
        )
    try:
        manifest = msgspec.convert(head, type=Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"manifest.json: {error}.") from None
    for problem in _problems(manifest):
        raise BundleError(f"manifest.json: {problem}.")
    return manifest


def fingerprint(manifest: Manifest) -> bytes:
    """The 8 bytes that stand for everything the symbols depend on, docs/format.md 2.3."""
    last = max(number for number, step in enumerate(manifest.schedule) if isinstance(step, Code))
    repeatable = {name: graph for name, graph in manifest.graphs.items() if graph.repeatable}
    text = msgspec.json.encode(
        {
            "multiple": manifest.multiple,
            "latents": manifest.latents,
            "graphs": {name: _canonical(graph) for name, graph in repeatable.items()},
            "schedule": manifest.schedule[: last + 1],
            "distributions": manifest.distributions,
            # Keys of later additions are there only where they are used, so that older bundles keep their fingerprint.
            **({"rates": manifest.rates} if manifest.rates else {}),
            **({"pin": manifest.pin} if manifest.pin else {}),
        },
        order="sorted",
    )
    files = {graph.file for graph in repeatable.values()}
    for distribution in manifest.distributions.values():
        files.update(table_files(distribution).values())
    digest = hashlib.sha256(b"fastlic entropy 1\n" + text)
    for file in sorted(files):
        digest.update(f"{file}\n{manifest.members[file].sha256}\n".encode())
    return digest.digest()[:8]


def _canonical(graph: GraphSpec) -> dict[str, Any]:
    """A graph as the fingerprint sees it: `pinned` only where it is true."""
    keys: dict[str, Any] = msgspec.to_builtins(graph)
    if not graph.pinned:
        del keys["pinned"]
    return keys


def table_files(distribution: DistributionSpec) -> dict[str, str]:
    """Table name -> member name."""
    numbers = {"families", "components", "skip_threshold"}
    return {name: getattr(distribution, name) for name in distribution.__struct_fields__ if name not in numbers}


def _problems(manifest: Manifest) -> Iterator[str]:
    """What contradicts itself, first things first."""
    name = manifest.student.get("name")
    if not isinstance(name, str) or not name or not name.isprintable():
        yield "student.name is missing or cannot be printed"
    for name, latent in manifest.latents.items():
        if name in (IMAGE, RATE):
            yield f"latents: {name} is the {'picture' if name == IMAGE else 'rate'}'s name"
        if manifest.multiple % latent.stride:
            yield f"latents.{name}: stride {latent.stride} does not divide multiple {manifest.multiple}"
    pinned = [name for name, graph in manifest.graphs.items() if graph.pinned]
    if bool(pinned) != (manifest.pin is not None):
        yield f"pin: {'no engine is named for ' + pinned[0] if pinned else 'there, but no graph is pinned'}"
    for name, graph in manifest.graphs.items():
        if graph.exact and graph.pinned:
            yield f"graphs.{name}: exact and pinned contradict each other"
        for port in (*graph.inputs, *graph.outputs):
            if manifest.multiple % port.stride:
                yield f"graphs.{name}: stride {port.stride} of {port.name} does not divide multiple {manifest.multiple}"
    files = {graph.file for graph in manifest.graphs.values()} | {vector.lic for vector in manifest.conformance}
    for distribution in manifest.distributions.values():
        files.update(table_files(distribution).values())
    for file in sorted(files - manifest.members.keys()):
        yield f"members: {file} is used but not listed"
    passes = [number for number, step in enumerate(manifest.schedule) if isinstance(step, Code)]
    if not passes:
        yield "schedule: nothing is coded"
        return
    for step in manifest.schedule[: passes[-1]]:
        if isinstance(step, Run) and step.graph in manifest.graphs and not manifest.graphs[step.graph].repeatable:
            yield f"schedule: graph {step.graph} comes before the last pass and is not exact, nor pinned"
    unknown = sorted({step.latent for step in manifest.schedule if isinstance(step, Code)} - manifest.latents.keys())
    if unknown:
        yield f"schedule: there is no latent {unknown[0]}"
        return
    latents = {name: latent.stride for name, latent in manifest.coded.items()}
    rate = {RATE: 1} if manifest.rates else {}
    yield from _step_problems(manifest, "schedule", manifest.schedule, latents | rate, {IMAGE: 1})
    shifted = {step.latent for _, step in _shifted_passes(manifest)}
    wanted = {name: stride for name, stride in latents.items() if name not in shifted}
    wanted |= {shift.values: latents[step.latent] for shift, step in _shifted_passes(manifest)}
    yield from _step_problems(manifest, "analysis", manifest.analysis, {IMAGE: 1} | rate, wanted)
    yield from _shift_problems(manifest, shifted)


def _step_problems(
    manifest: Manifest, part: str, steps: tuple[Run | Code, ...], given: dict[str, int], wanted: dict[str, int]
) -> Iterator[str]:
    """Steps that name what is not there (yet), or come in an order that tiles do not allow.

    Args:
        manifest: what the names refer to.
        part: "schedule", whose picture steps come last, or "analysis", whose picture steps come first.
        steps: of that part.
        given: tensor -> stride, there from the beginning.
        wanted: tensor -> stride, to be there at the end.
    """
    known, picture_flags = dict(given), []
    for number, step in enumerate(steps):
        where = f"{part}[{number}]"
        if isinstance(step, Code):
            picture_flags.append(False)
            yield from _pass_problems(manifest, where, step, known)
            continue
        graph = manifest.graphs.get(step.graph)
        if graph is None:
            yield f"{where}: there is no graph {step.graph}"
            return
        picture_flags.append(graph.scope == "picture")
        if (len(graph.inputs), len(graph.outputs)) != (len(step.inputs), len(step.outputs)):
            yield f"{where}: graph {step.graph} has other numbers of inputs or outputs"
        if graph.scope == "tile" and IMAGE in (*step.inputs, *step.outputs):
            yield f"{where}: {IMAGE} belongs to graphs of scope picture"
        for name, port in zip(step.inputs, graph.inputs, strict=False):
            if name not in known:
                yield f"{where}: {name} is not computed by an earlier step"
            elif known[name] != port.stride:
                yield f"{where}: {name} has stride {known[name]}, graph {step.graph} takes {port.stride}"
        for name, port in zip(step.outputs, graph.outputs, strict=False):
            if name in known:
                yield f"{where}: {name} is there before this step computes it"
            if wanted.get(name, port.stride) != port.stride:
                yield f"{where}: {name} must have stride {wanted[name]}, graph {step.graph} gives {port.stride}"
            known[name] = port.stride
    if picture_flags != sorted(picture_flags, reverse=part == "analysis"):
        yield f"{part}: picture steps must come {'first' if part == 'analysis' else 'last'}"
    if steps and wanted.keys() - known.keys():
        yield f"{part}: {', '.join(sorted(wanted.keys() - known.keys()))} is never computed"


def _pass_problems(manifest: Manifest, where: str, step: Code, known: dict[str, int]) -> Iterator[str]:
    latent = manifest.latents[step.latent]
    if not 0 <= step.channels[0] < step.channels[1] <= latent.channels:
        yield f"{where}: channels {step.channels} are outside latent {step.latent}"
    if step.parity != "all" and manifest.multiple // latent.stride % 2:
        yield f"{where}: latent {step.latent} can have an odd width, so it has no parities"
    distribution = manifest.distributions.get(step.distribution)
    if distribution is None:
        yield f"{where}: there is no distribution {step.distribution}"
    if step.parameters is None and isinstance(distribution, MixtureSpec):
        yield f"{where}: a mixture needs parameters"
    if step.parameters is not None and step.parameters not in known:
        yield f"{where}: {step.parameters} is not computed by an earlier step"


def _shifted_passes(manifest: Manifest) -> list[tuple[Shift, Code]]:
    """The shifts that name a pass, with it."""
    steps = dict(enumerate(manifest.schedule))
    found = [(shift, steps.get(shift.step)) for shift in manifest.shifts]
    return [(shift, step) for shift, step in found if isinstance(step, Code)]


def _shift_problems(manifest: Manifest, shifted: set[str]) -> Iterator[str]:
    """Shifts that an encoder could not follow."""
    passes = _shifted_passes(manifest)
    if len(passes) < len(manifest.shifts):
        yield "shifts: one names a step of the schedule that codes nothing"
    for name in sorted(shifted):
        count = sum(isinstance(step, Code) and step.latent == name for step in manifest.schedule)
        if count != sum(step.latent == name for _, step in passes):
            yield f"shifts: latent {name} is shifted in some of its passes only"
        if manifest.latents[name].channel_map:
            yield f"shifts: latent {name} has a channel map, which an encoder could not know beforehand"
    for shift, _ in passes:
        before = manifest.schedule[: shift.step]
        if not any(isinstance(step, Run) and shift.means in step.outputs for step in before):
            yield f"shifts: {shift.means} is not computed before step {shift.step}"
