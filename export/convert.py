"""From a checkpoint to a published bundle: the one pipeline behind `fastlic export`.

Knows the order of work; the parts know how. Nothing is written before everything was verified.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from fastlic.errors import VerificationFailed
from fastlic.export import calibration as pictures
from fastlic.export import checkpoint as checkpoints
from fastlic.export import description, graphs, halo, pipeline, publish, rate, tables, verify
from fastlic.export.cost import MAX_RATE_COST, MIN_RATE
from fastlic.export.integer.certificate import certify
from fastlic.export.integer.folding import SCALE_UNIT, FoldedNetwork, fold
from fastlic.export.integer.graphs import context_graph, hyper_graph
from fastlic.export.integer.quantisation import Quantised, Ranges, calibrate, quantise
from fastlic.export.pipeline import VECTOR_SIZES, Pictures
from fastlic.export.recipe import Recipe
from fastlic.export.sampling import crop
from fastlic.export.students.deform import disable_zero_offsets
from fastlic.export.students.fu2023 import COMPONENTS, Fu2023
from fastlic.export.students.likelihood import FAMILIES, SCALE_FLOOR
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.conformance import symbol_crcs
from fastlic.runtime.manifest import Manifest, Vector

VERIFIED_SIZES = ((64, 64), (128, 192), (192, 64))

Latents = list[tuple[np.ndarray, np.ndarray]]
"""(z, y) of pictures, int16."""


@dataclass(frozen=True)
class Conversion:
    """Everything a bundle is packed from, and what verification compares it with."""

    model: Fu2023
    folded: FoldedNetwork
    quantised: Quantised
    distributions: rate.Distributions
    graphs: Mapping[str, bytes]


def convert(
    checkpoint: str | Path,
    output: str | Path,
    *,
    configuration: str | Path | None = None,
    student: str | None = None,
    calibration: str | Path | None = None,
    validation: str | Path | None = None,
    encoder: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Export a checkpoint to a bundle that was verified before it got its name.

    Args:
        checkpoint: `.pt` state dict.
        output: the `.licb` to write; an existing one is replaced, but only by a verified one.
        configuration: JSON; None: beside the checkpoint.
        student: the family of a checkpoint in CompressAI's format, which has no configuration.
        calibration: folder or .tar of pictures; None: pictures are made up.
        validation: folder or .tar to measure the rate cost on; None: the part of `calibration` that is not calibrated
        on. progress: told what is being done.

    Returns:
        The report that is also in the manifest, with `bytes` and `fingerprint`.

    Raises:
        CheckpointError: the checkpoint cannot be exported.
        PictureError: not enough pictures.
        CertificateError: a layer cannot be proved exact.
        VerificationFailed: the bundle does not do what the checkpoint does.
    """
    progress("reading the checkpoint")
    loaded = checkpoints.load(checkpoint, configuration, student)
    if not isinstance(loaded.model, Fu2023):
        return _by_recipe(loaded, Path(checkpoint), Path(output), calibration, validation, encoder, progress)
    model = graphs.rounded_to_half(loaded.model)
    disable_zero_offsets(model)
    chosen = _pictures(calibration, validation, description.MULTIPLE)
    held_out = chosen.held_out
    progress("emitting the transforms")
    transforms = graphs.transform_graphs(model)
    progress(f"calibrating on {len(chosen.calibration)} pictures ({chosen.origin})")
    conversion = _quantised(model, transforms, _latents(transforms, chosen.calibration))
    certificates = certify(conversion.quantised.network)
    progress(f"measuring the rate cost on {len(held_out)} pictures and the halos")
    cost = _rate_cost(conversion, transforms, held_out)
    halos = _halos(model, chosen.calibration)
    manifest = description.manifest_of(model.configuration, _card(checkpoint, loaded), {}, halos)
    manifest, members = _members(manifest, conversion)
    progress("verifying")
    packed = publish.pack(manifest, members)
    report = _verified(packed, conversion, held_out)
    crops = [crop(held_out, number, size) for number, size in enumerate(VECTOR_SIZES)]
    files = verify.round_trip(packed, crops, report)
    members |= {f"vectors/{number}.lic": data for number, data in enumerate(files)}
    with Bundle(packed) as bundle:
        vectors = tuple(Vector(f"vectors/{number}.lic", symbol_crcs(data, bundle)) for number, data in enumerate(files))
        fingerprint = bundle.fingerprint.hex()
    measured = {
        "rate_cost": cost.summary(),
        "rate_pictures": len(held_out),
        "skip_changed_elements": round(cost.skipped / cost.elements, 6),
        "calibration": {"pictures": len(chosen.calibration), "origin": chosen.origin},
        **dataclasses.asdict(report),
    }
    manifest = msgspec.structs.replace(
        manifest,
        certificates=_by_graph(conversion, certificates),
        validation=measured,
        conformance=vectors,
    )
    if not encoder:
        manifest, members = description.without_encoder(manifest, members)
    packed = publish.pack(manifest, members)
    publish.publish(packed, Path(output))
    return {"bytes": len(packed), "fingerprint": fingerprint, **measured}


def _by_recipe(
    loaded: checkpoints.Checkpoint,
    checkpoint: Path,
    output: Path,
    calibration: str | Path | None,
    validation: str | Path | None,
    encoder: bool,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    recipe: Recipe = loaded.model.recipe()
    return pipeline.export(
        recipe,
        _card(checkpoint, loaded),
        _pictures(calibration, validation, recipe.multiple),
        output,
        encoder=encoder,
        progress=progress,
    )


def _pictures(calibration: str | Path | None, validation: str | Path | None, multiple: int) -> Pictures:
    chosen = pictures.load(None if calibration is None else Path(calibration), multiple)
    held_out = chosen.validation
    if validation is not None:
        every = pictures.load(Path(validation), multiple)
        held_out = every.calibration + every.validation
    return Pictures(chosen.calibration, held_out, chosen.origin)


def _latents(transforms: Mapping[str, bytes], found: Sequence[np.ndarray]) -> Latents:
    """(z, y) of pictures, by the graphs that an encoder runs."""
    engine = engines.create("ort-cpu")
    try:
        analysis = engine.load(transforms["analysis"], "analysis", exact=False)
        hyper_analysis = engine.load(transforms["hyper_analysis"], "hyper_analysis", exact=False)
        latents = []
        for picture in found:
            y_float, y = analysis([picture])
            latents.append((hyper_analysis([y_float])[0], y))
        return latents
    finally:
        engine.close()


def _quantised(model: Fu2023, transforms: Mapping[str, bytes], latents: Latents) -> Conversion:
    folded = fold(model)
    ranges = calibrate(folded, latents)
    quantised = quantise(folded, ranges)
    largest = _largest_scale(folded, ranges)
    return Conversion(
        model=model,
        folded=folded,
        quantised=quantised,
        distributions=rate.Distributions(
            prior=tables.prior_rows(model.entropy_bottleneck),
            anchors=tables.mixture_tables(FAMILIES, COMPONENTS, largest),
            nonanchors=tables.mixture_tables(FAMILIES[:1], COMPONENTS, largest),
            levels=tables.scale_levels(largest),
        ),
        graphs={**transforms, "hyper": hyper_graph(quantised.network), "context": context_graph(quantised.network)},
    )


def _largest_scale(folded: FoldedNetwork, ranges: Ranges) -> float:
    """The power of two not below 1.5 times the largest scale met, in [16, 256]."""
    largest = 0.0
    for layers, families in ((folded.anchor, len(FAMILIES)), (folded.nonanchor, 1)):
        numbers = 3 * COMPONENTS * families + (families if families > 1 else 0)
        peaks = ranges.high[layers[-1].name].reshape(-1, numbers)
        count = COMPONENTS * families
        largest = max(largest, float(peaks[:, 2 * count : 3 * count].max()) / SCALE_UNIT)
    return float(np.clip(np.exp2(np.ceil(np.log2(1.5 * max(largest, 1) + SCALE_FLOOR))), 16, 256))


def _rate_cost(
    conversion: Conversion, transforms: Mapping[str, bytes], held_out: Sequence[np.ndarray]
) -> rate.RateCost:
    meter = rate.RateMeter(
        conversion.folded, conversion.quantised, conversion.model.entropy_bottleneck, conversion.distributions
    )
    cost = rate.measure_all(meter, _latents(transforms, held_out))
    pixels = sum(picture.shape[0] * picture.shape[1] for picture in held_out)
    if cost.total * cost.float_bits > MAX_RATE_COST * max(cost.float_bits, MIN_RATE * pixels):
        raise VerificationFailed(
            f"the integer networks cost {100 * cost.total:.2f} % of the bits, {100 * MAX_RATE_COST} % is allowed: "
            f"{cost.summary()}. Calibrate on more photographs (--calibration)."
        )
    return cost


def _halos(model: Fu2023, found: Sequence[np.ndarray]) -> dict[str, int]:
    strip = torch.from_numpy(halo.strip_of(found)).permute(2, 0, 1)[None] / 255
    strips = [strip, strip.transpose(2, 3).contiguous()]
    with torch.no_grad():
        latents = [model.g_a(part).round() for part in strips]
    return {
        "analysis": halo.measure(model.g_a, strips, 1, "analysis"),
        "synthesis": halo.measure(lambda y: 255 * model.g_s(y), latents, graphs.STRIDE, "synthesis"),
    }


def _card(checkpoint: str | Path, loaded: checkpoints.Checkpoint) -> dict[str, Any]:
    """The student's description: its configuration as written, and where it came from."""
    written = dict(loaded.configuration)
    family = written.pop("student")
    return {
        "name": Path(checkpoint).stem,
        **{str(key): written.pop(key) for key in ("name", "licence", "training") if key in written},
        "family": family,
        "configuration": written,
        "checkpoint_sha256": loaded.sha256,
    }


def _members(manifest: Manifest, conversion: Conversion) -> tuple[Manifest, dict[str, bytes]]:
    members = {description.graph_file(name): content for name, content in conversion.graphs.items()}
    tabled = conversion.distributions
    prior, files = description.table_members("prior", tabled.prior)
    members |= files
    mixtures = {}
    for name, mixture in (("anchors", tabled.anchors), ("nonanchors", tabled.nonanchors)):
        mixtures[name], files = description.mixture_members(name, mixture)
        members |= files
    return msgspec.structs.replace(manifest, distributions={"prior": prior, **mixtures}), members


def _verified(packed: bytes, conversion: Conversion, held_out: Sequence[np.ndarray]) -> verify.Report:
    """Every graph of the bundle against its source, on three sizes.

    Raises:
        VerificationFailed: see `verify`.
    """
    report = verify.Report()
    samples = [crop(held_out, number, size) for number, size in enumerate(VERIFIED_SIZES)]
    with Bundle(packed) as bundle:
        latents = _latents(conversion.graphs, samples)
        verify.exact_graphs(bundle, conversion.quantised.network, [*latents, _extreme(latents[0])], report)
        verify.transforms(bundle, conversion.model, samples, report)
    return report


def _extreme(latents: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Latents of the same shapes at the ends of int16, where only the graphs' limits keep sums exact."""
    generator = np.random.default_rng(0)
    z, y = (generator.choice(np.array([-16383, 16383], np.int16), part.shape) for part in latents)
    return z, y


def _by_graph(conversion: Conversion, certificates: Mapping[str, Any]) -> dict[str, Any]:
    """Layer certificates under the graph that computes the layer; the non-anchors' first layer is in both."""
    network = conversion.quantised.network
    first = network.nonanchor[0]
    layers = {"hyper": (*network.trunk, *network.anchor, first), "context": network.nonanchor}
    return {
        graph: {layer.name: dataclasses.asdict(certificates[layer.name]) for layer in chain}
        for graph, chain in layers.items()
    }
