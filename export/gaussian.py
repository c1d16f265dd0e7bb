"""The entropy model of a student whose passes code normal distributions around means: from a program to its graphs.

Knows the order: calibrate, quantise, prove, emit; and what the float model's likelihoods say. Knows no family.
Rule: docs/exactness.md; docs/format.md, section 4.2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from fastlic.export.integer.certificate import LayerCertificate
from fastlic.export.integer.lattice import INT16
from fastlic.export.integer.lattices import Lattice, quantised
from fastlic.export.integer.program import MEAN_UNIT, SCALE_UNIT, Coded, FloatArithmetic, Maps, Program, Stage, encode
from fastlic.export.integer.stages import (
    SHIFTED,
    closing_graph,
    ports_of,
    refined_maps,
    shift_graph,
    stage_graph,
)
from fastlic.export.recipe import Arrays, Entropy, ExactGraph
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.likelihood import LIKELIHOOD_FLOOR, SCALE_FLOOR, cumulative
from fastlic.export.tables import normal_tables, prior_rows
from fastlic.runtime.entropy.tables import MAX_VALUE, TOTAL
from fastlic.runtime.manifest import Port

LARGEST_SCALES = (16.0, 256.0)
"""The last level is a power of two in this range, not below 1.5 times the largest scale met."""


def entropy_of(
    program: Program, prior: FactorisedPrior, samples: Sequence[Arrays], stride: int, hyper_stride: int
) -> Entropy:
    """Calibrate, quantise, prove and emit.

    Args:
        program: the float networks; they code "y", whose float values the samples hold as "y_float".
        prior: of "z".
        samples: tensors of the calibration pictures.
        stride, hyper_stride: pixels per element of y and of z.

    Raises:
        CertificateError: a layer cannot be proved exact.
    """
    met, largest = FloatArithmetic(), 0.0
    for tensors in samples:
        passes = encode(program, met, {"z": tensors["z"]}, tensors["y_float"].astype(np.float64))
        largest = max(largest, *(float(coded.scales.max()) for coded in passes))
    lattice = quantised(program, met)
    proofs = lattice.certify()
    scale = float(np.clip(np.exp2(np.ceil(np.log2(max(1.5 * largest, 1)))), *LARGEST_SCALES))

    def float_bits(tensors: Arrays) -> float:
        values = tensors["y_float"].astype(np.float64)
        passes = encode(program, FloatArithmetic(), {"z": tensors["z"]}, values)
        return prior_bits(prior, tensors["z"]) + sum(normal_bits(coded) for coded in passes)

    strides = {"z": hyper_stride}
    exact = {stage.name: _exact_graph(lattice, stage, proofs, stride, strides) for stage in program.stages}
    if program.closing:
        exact[program.closing.name] = _closing(lattice, program.closing, proofs, stride)
    elif all(stage.means for stage in program.stages):
        exact["shift"] = _shift(program.stages, stride)
    # Nothing is skipped: the symbols are to be those that the float model rounds to.
    return Entropy({"prior": prior_rows(prior), "normal": normal_tables(SCALE_UNIT, scale, TOTAL)}, float_bits, exact)


def prior_bits(prior: FactorisedPrior, symbols: np.ndarray) -> float:
    """Bits of integers (C, h, w) around the prior's medians, from likelihoods not below 1e-9."""
    with torch.no_grad():
        values = torch.from_numpy(np.asarray(symbols)).float() + prior.medians()[:, None, None]
        likelihood = prior.likelihood(values[None]).double().clamp_min(LIKELIHOOD_FLOOR)
    return float(-torch.log2(likelihood).sum())


def normal_bits(coded: Coded) -> float:
    """Bits of a pass under its normal distributions, from likelihoods not below 1e-9."""
    scales = torch.from_numpy(np.maximum(coded.scales, SCALE_FLOOR))
    distance = torch.from_numpy(coded.symbols).double().abs()
    interval = cumulative("normal", (0.5 - distance) / scales) - cumulative("normal", (-0.5 - distance) / scales)
    return float(-torch.log2(interval.clamp_min(LIKELIHOOD_FLOOR)).sum())


def _exact_graph(
    lattice: Lattice, stage: Stage, proofs: dict[str, LayerCertificate], stride: int, strides: dict[str, int]
) -> ExactGraph:
    inputs, outputs = ports_of(lattice.program, stage)
    return ExactGraph(
        content=stage_graph(lattice, stage),
        inputs=tuple(Port(name, strides.get(name, stride)) for name in inputs),
        outputs=tuple(Port(name, stride) for name in outputs),
        certificates={node.name: dataclasses.asdict(proofs[node.name]) for node in stage.nodes},
        layers=tuple(lattice.layers[node.name] for node in stage.nodes),
        reference=_reference(lattice, stage),
    )


def _closing(lattice: Lattice, stage: Stage, proofs: dict[str, LayerCertificate], stride: int) -> ExactGraph:
    """The graph that refines the last channels and hands all of them to the synthesis."""
    inputs, outputs = ports_of(lattice.program, stage)
    return ExactGraph(
        content=closing_graph(lattice),
        inputs=tuple(Port(name, stride) for name in inputs),
        outputs=tuple(Port(name, stride) for name in outputs),
        certificates={node.name: dataclasses.asdict(proofs[node.name]) for node in stage.nodes},
        layers=tuple(lattice.layers[node.name] for node in stage.nodes),
        reference=_reference(lattice, stage),
    )


def _reference(lattice: Lattice, stage: Stage) -> Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]:
    """The oracle of one graph, in the order of its ports."""
    program = lattice.program
    names, wanted = ports_of(program, stage)
    latents = {entry.latent for entry in stage.entries if hasattr(entry, "latent")}
    by_means = {other.means_tensor: other.name for other in program.stages}

    def evaluate(inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        given = dict(zip(names, inputs, strict=True))
        maps: Maps = {name: given[name].astype(np.int64) for name in program.taken(stage)}
        means = {by_means[name]: array.astype(np.int64) for name, array in given.items() if name in by_means}
        numbers = lattice.evaluate(stage, maps, {name: given[name] for name in latents}, means)
        if stage is program.closing:
            refined = np.concatenate([maps[name] for name in refined_maps(program)], axis=2)
            return [refined.transpose(2, 0, 1) / MEAN_UNIT]
        scales = numbers[..., : stage.count]
        parameters = np.stack([np.zeros_like(scales), np.zeros_like(scales), scales], axis=-1).astype(np.int16)
        found = {stage.parameters_tensor: parameters, stage.means_tensor: numbers[..., stage.count :], **maps}
        return [found[name] for name in wanted]

    return evaluate


def _shift(stages: Sequence[Stage], stride: int) -> ExactGraph:
    """The graph that adds means to symbols; its sums are integers in units of 1 / 32."""

    def evaluate(inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        symbols, *means = inputs
        total = symbols.astype(np.float64)
        for stage, mean in zip(stages, means, strict=True):
            shift = stage.unpack(mean.astype(np.float64) / MEAN_UNIT, symbols.shape[2])
            total[slice(*stage.channels)] += shift.transpose(2, 0, 1)
        return [total]

    return ExactGraph(
        content=shift_graph(stages),
        inputs=tuple(Port(name, stride) for name in (stages[0].latent, *(stage.means_tensor for stage in stages))),
        outputs=(Port(SHIFTED, stride),),
        certificates={"sum": {"products": [], "total": MEAN_UNIT * MAX_VALUE + INT16, "activation": 0, "output": 0}},
        layers=(),
        reference=evaluate,
    )
