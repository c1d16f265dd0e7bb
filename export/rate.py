"""Bits of a Fu 2023 student's latents, from its float model to its integer networks, step by step.

Knows both forms of the entropy networks and the writer; knows nothing of engines. What separates the two is switched
on one cause after the other, so the causes add up to the total; a cause may be negative, since quantisation noise is
as likely to help as to harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from fastlic.export.gaussian import prior_bits
from fastlic.export.integer.folding import LOGIT_UNIT, MEAN_UNIT, SCALE_UNIT, FoldedNetwork
from fastlic.export.integer.lattice import Layer
from fastlic.export.integer.quantisation import Quantised, with_quantised_weights
from fastlic.export.recipe import Arrays
from fastlic.export.students.checkerboard import pack
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.fu2023 import COMPONENTS
from fastlic.export.students.likelihood import FAMILIES, LIKELIHOOD_FLOOR, SCALE_FLOOR, mixture_likelihood
from fastlic.export.tables import inverse_softplus
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.tables import TOTAL, MixtureTables, RowTables
from fastlic.runtime.entropy.writer import StreamWriter

Parameters = Sequence[np.ndarray]
"""(h, w / 2, M, P) of anchors and of non-anchors, in the format's order and units, integers or not."""


@dataclass(frozen=True)
class Distributions:
    """The tables of a bundle, and the real scale of each level of each mixture, (64,) float64."""

    prior: RowTables
    anchors: MixtureTables
    nonanchors: MixtureTables
    levels: np.ndarray


class RateMeter:
    """Measures one picture's latents with everything prepared: z int16 (Cz, h / 4, w / 4), y int16 (M, h, w)."""

    def __init__(
        self, folded: FoldedNetwork, quantised: Quantised, prior: FactorisedPrior, distributions: Distributions
    ) -> None:
        self.folded, self.network, self.prior = folded, quantised.network, prior
        self.weights_only = with_quantised_weights(folded, quantised)
        self.distributions = distributions

    def float_bits(self, tensors: Arrays) -> float:
        """Of the float model, from likelihoods not below 1e-9."""
        z, y = tensors["z"], tensors["y"]
        return self._bits(self.folded.evaluate(z, y), y) + prior_bits(self.prior, z)

    def causes(self, tensors: Arrays) -> dict[str, float]:
        """Bits with one cause after the other switched on, up to coding in which no element is skipped."""
        z, y, network = tensors["z"], tensors["y"], self.network
        totals = network.totals(z, y)
        integers = network.rounded(totals)
        raw = [
            _real(total, chain[-1]).reshape(done.shape)
            for total, chain, done in zip(totals, (network.anchor, network.nonanchor), integers, strict=True)
        ]
        z_bits = prior_bits(self.prior, z)
        return {
            "weights": self._bits(self.weights_only.evaluate(z, y), y) + z_bits,
            "activations": self._bits(raw, y) + z_bits,
            "means": self._bits(_rounded(raw, integers, 1), y) + z_bits,
            "scales": self._bits(_rounded(raw, integers, 2), y, levels=True) + z_bits,
            "logits": self._bits(integers, y, levels=True) + z_bits,
            "windows": self._coded(z, y, integers),
        }

    def _bits(self, parameters: Parameters, y: np.ndarray, *, levels: bool = False) -> float:
        latent, total = torch.from_numpy(y).float()[None], 0.0
        parity = self.folded.parity
        for numbers, chosen, tables in zip(
            parameters, (parity, 1 - parity), (self.distributions.anchors, self.distributions.nonanchors), strict=True
        ):
            families = FAMILIES[: len(tables.families)]
            likelihood = mixture_likelihood(
                pack(latent, chosen), self._natural(numbers, tables, levels), families, COMPONENTS
            )
            total -= float(torch.log2(likelihood.double().clamp_min(LIKELIHOOD_FLOOR)).sum())
        return total

    def _natural(self, numbers: np.ndarray, tables: MixtureTables, levels: bool) -> torch.Tensor:
        """The format's order and units -> the likelihood's (1, P, M, h, w / 2); scales by level if asked for."""
        count = COMPONENTS * len(tables.families)
        values = numbers.astype(np.float64)
        scales = values[..., 2 * count : 3 * count]
        if levels:
            family = np.arange(count) // COMPONENTS
            chosen = np.stack(
                [np.searchsorted(tables.thresholds[f], scales[..., k], side="right") for k, f in enumerate(family)],
                axis=-1,
            )
            scales = SCALE_UNIT * inverse_softplus(np.maximum(self.distributions.levels[chosen] - SCALE_FLOOR, 1e-12))
        columns = [
            part
            for k in range(count)
            for part in (values[..., k] / LOGIT_UNIT, values[..., count + k] / MEAN_UNIT, scales[..., k] / SCALE_UNIT)
        ]
        columns += [values[..., number] / LOGIT_UNIT for number in range(3 * count, values.shape[-1])]
        return torch.from_numpy(np.stack(columns)).permute(0, 3, 1, 2)[None]

    def _coded(self, z: np.ndarray, y: np.ndarray, integers: Parameters) -> float:
        """Bits of all passes as written, every channel active and no element skipped."""
        writer = StreamWriter()
        writer.code(Pass(self.distributions.prior, None, z.shape), z)
        parity = self.folded.parity
        for numbers, chosen, tables in zip(
            integers, (parity, 1 - parity), (self.distributions.anchors, self.distributions.nonanchors), strict=True
        ):
            values = pack(torch.from_numpy(y), chosen).contiguous().numpy()
            writer.code(Pass(replace(tables, skip_threshold=TOTAL), numbers.astype(np.int16), values.shape), values)
        return writer.bits()


def _real(total: np.ndarray, layer: Layer) -> np.ndarray:
    """What a chain's last sum stands for before it is rounded."""
    half = np.where(layer.fraction > 0, np.exp2(layer.fraction - 1.0), 0)
    return (total - half) * np.exp2(-layer.fraction.astype(np.float64))


def _rounded(raw: Parameters, integers: Parameters, kinds: int) -> list[np.ndarray]:
    """`raw` with some numbers replaced by their rounded values: the means (1), the means and the scales (2)."""
    merged = []
    for real, whole in zip(raw, integers, strict=True):
        # P is 3K, or 3K and a logit for each of three families.
        count = real.shape[-1] // 3 if real.shape[-1] == 3 * COMPONENTS else (real.shape[-1] - len(FAMILIES)) // 3
        some = real.copy()
        some[..., count : (1 + kinds) * count] = whole[..., count : (1 + kinds) * count]
        merged.append(some)
    return merged
