"""From a recipe to a published bundle: the order of work for every family.

Knows what comes after what; the parts know how. Nothing is written before everything was checked.
Rule: docs/format.md, section 2; docs/exactness.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fastlic.errors import VerificationFailed
from fastlic.export import cost, description, halos, publish, verify, walking
from fastlic.export.checking import CheckingEngine, exact_check, float_check
from fastlic.export.recipe import Entropy, Recipe
from fastlic.export.sampling import crop, sample
from fastlic.export.tracing import emit_graph
from fastlic.kernels import native
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.conformance import symbol_crcs
from fastlic.runtime.entropy.tables import RowTables
from fastlic.runtime.manifest import FORMAT, DistributionSpec, GraphSpec, Manifest, Vector
from fastlic.runtime.pin import pin_of

ENGINE = "ort-cpu"
"""Runs the analysis of samples; pinned graphs are pinned to it."""
VECTOR_SIZES = ((96, 64), (33, 130), (1, 1))
"""(height, width) of the pictures in the conformance vectors."""
CHECKED_SIZES = ((128, 192), (64, 64), (192, 64))
"""(height, width), the largest first: the errors of floating point met there hold for the others too."""
PINNED_SETTINGS: tuple[tuple[int, Mapping[str, str]], ...] = (
    (1, {"optimisation": "all"}),
    (2, {"optimisation": "all"}),
    (3, {"optimisation": "all"}),
    (1, {"operators": "onnxruntime"}),
)
"""Threads and options of the pinned engine that must give equal symbols; levels of optimisation need not."""


@dataclass(frozen=True)
class Pictures:
    """uint8 (H, W, 3) pictures to calibrate on, and others to measure and check with; where they came from."""

    calibration: Sequence[np.ndarray]
    held_out: Sequence[np.ndarray]
    origin: str


def export(
    recipe: Recipe,
    card: Mapping[str, Any],
    pictures: Pictures,
    output: Path,
    *,
    encoder: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Export a recipe to a bundle that was checked before it got its name.

    Args:
        recipe: the trained student.
        card: its description; `name` is required.
        pictures: edges of multiples of `recipe.multiple`.
        output: the `.licb` to write; an existing one is replaced, but only by a checked one.
        encoder: whether the bundle can encode.
        progress: told what is being done.

    Returns:
        The report that is also in the manifest, with `bytes` and `fingerprint`.

    Raises:
        CertificateError: a layer cannot be proved exact.
        VerificationFailed: the bundle does not do what the student does, or its rate costs too much.
    """
    progress("emitting the transforms")
    emitted = {name: emit_graph(graph, recipe.multiple) for name, graph in recipe.transforms.items()}
    progress(f"calibrating on {len(pictures.calibration)} pictures ({pictures.origin})")
    samples = sample(recipe, emitted, pictures.calibration)
    entropy = recipe.entropy(samples)
    progress("measuring the halos")
    manifest, members = _assembled(recipe, entropy, emitted, card)
    margins = halos.measured(publish.pack(manifest, members), recipe, pictures.calibration)
    manifest = msgspec.structs.replace(
        manifest,
        graphs={
            name: msgspec.structs.replace(graph, halo=margins.get(name, 0)) for name, graph in manifest.graphs.items()
        },
    )
    packed = publish.pack(manifest, members)
    progress(f"measuring the rate cost on {len(pictures.held_out)} pictures")
    rate_facts = cost.measured(packed, sample(recipe, emitted, pictures.held_out), entropy)
    progress("verifying")
    report = verify.Report()
    check(packed, recipe, entropy, [crop(pictures.held_out, n, size) for n, size in enumerate(CHECKED_SIZES)], report)
    files = _vectors(packed, [crop(pictures.held_out, n, size) for n, size in enumerate(VECTOR_SIZES)], report)
    members |= {f"vectors/{number}.lic": data for number, data in enumerate(files)}
    with Bundle(packed) as bundle:
        vectors = tuple(Vector(f"vectors/{number}.lic", symbol_crcs(data, bundle)) for number, data in enumerate(files))
        fingerprint = bundle.fingerprint.hex()
    measured = {
        **rate_facts,
        "rate_pictures": len(pictures.held_out),
        "calibration": {"pictures": len(pictures.calibration), "origin": pictures.origin},
        **dataclasses.asdict(report),
    }
    manifest = msgspec.structs.replace(manifest, validation=measured, conformance=vectors)
    if not encoder:
        manifest, members = description.without_encoder(manifest, members)
    packed = publish.pack(manifest, members)
    publish.publish(packed, output)
    return {"bytes": len(packed), "fingerprint": fingerprint, **measured}


def _assembled(
    recipe: Recipe,
    entropy: Entropy,
    emitted: Mapping[str, bytes],
    card: Mapping[str, Any],
) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest without halos, validation and vectors, and the members it names."""
    contents = {**emitted, **{name: graph.content for name, graph in entropy.exact.items()}}
    members = {description.graph_file(name): content for name, content in contents.items()}
    distributions: dict[str, DistributionSpec] = {}
    for name, tables in entropy.distributions.items():
        if isinstance(tables, RowTables):
            distributions[name], files = description.table_members(name, tables)
        else:
            distributions[name], files = description.mixture_members(name, tables)
        members |= files
    graphs = {
        name: GraphSpec(
            file=description.graph_file(name),
            scope=graph.scope,
            exact=False,
            inputs=tuple(port.port for port in graph.inputs),
            outputs=tuple(port.port for port in graph.outputs),
            pinned=graph.pinned,
        )
        for name, graph in recipe.transforms.items()
    } | {
        name: GraphSpec(description.graph_file(name), "tile", True, graph.inputs, graph.outputs)
        for name, graph in entropy.exact.items()
    }
    manifest = Manifest(
        format=FORMAT,
        student=dict(card),
        multiple=recipe.multiple,
        latents=dict(recipe.latents),
        graphs=graphs,
        schedule=recipe.schedule,
        analysis=recipe.analysis,
        distributions=distributions,
        members={},
        shifts=recipe.shifts,
        rates=recipe.rates,
        certificates={name: dict(graph.certificates) for name, graph in entropy.exact.items()},
    )
    if any(graph.pinned for graph in recipe.transforms.values()):
        engine = engines.create(ENGINE, threads=1)
        manifest = msgspec.structs.replace(manifest, pin=pin_of(engine))
        engine.close()
    return manifest, members


def check(packed: bytes, recipe: Recipe, entropy: Entropy, found: Sequence[np.ndarray], report: verify.Report) -> None:
    """Code and decode pictures with engines that check every graph while it works.

    Args:
        packed: the bundle.
        recipe, entropy: what it was made from.
        found: uint8 (H, W, 3), edges of multiples of `recipe.multiple`.
        report: receives what was compared, and the largest errors.

    Raises:
        VerificationFailed: an exact graph differs from its oracle by a bit, or a transform is too far from float64.
    """
    near = {name: float_check(name, graph, report) for name, graph in recipe.transforms.items()}
    for operators in ("onnxruntime", "fastlic") if native.available() else ("onnxruntime",):
        _code(packed, found, CheckingEngine(engines.create(ENGINE, threads=2, operators=operators), near))
    if not entropy.exact:
        return
    for name, threads, options in verify.EXACT_ENGINES:
        label = " ".join((name, f"{threads} threads", *options.values()))
        inner = engines.create(name, threads=threads, **options)
        verify.worst_signs(inner, [layer for graph in entropy.exact.values() for layer in graph.layers], label)
        equal = {graph: exact_check(graph, exact, label) for graph, exact in entropy.exact.items()}
        engine = CheckingEngine(inner, equal)
        walking.code_extremes(packed, engine)
        _code(packed, found, engine)
        report.exact.append(label)


def _code(packed: bytes, found: Sequence[np.ndarray], engine: CheckingEngine) -> None:
    """Encode and decode; the engine does the checking."""
    with Encoder(packed, engine=engine) as encoder:
        decoder = Decoder(packed, engine=engine)
        for picture in found:
            decoder.decode(encoder.encode(picture))


def _vectors(packed: bytes, found: Sequence[np.ndarray], report: verify.Report) -> list[bytes]:
    """Files of pictures of any size, decoded with other engines or settings too.

    Raises:
        VerificationFailed: a picture does not come back alike.
    """
    with Bundle(packed) as bundle:
        pinned = bundle.manifest.pin is not None
    if not pinned:
        return verify.round_trip(packed, found, report)
    files = verify.round_trip(packed, found, report, other=ENGINE)
    for threads, options in PINNED_SETTINGS:
        engine = engines.create(ENGINE, threads=threads, **options)
        with Decoder(packed, engine=engine) as decoder:
            for number, data in enumerate(files):
                try:
                    decoder.decode_latents(data)
                except Exception as error:
                    raise VerificationFailed(
                        f"vector {number}: pinned graphs give other symbols with {threads} threads, "
                        f"{dict(options)}: {error}"
                    ) from error
        report.exact.append(" ".join(("pinned", ENGINE, f"{threads} threads", *options.values())))
    return files
