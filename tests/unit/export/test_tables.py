from __future__ import annotations

import numpy as np
import pytest
import torch

from fastlic.export import tables
from fastlic.export.students.factorised import FactorisedPrior
from fastlic.export.students.likelihood import FAMILIES, mixture_likelihood
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.tables import TOTAL
from fastlic.runtime.entropy.writer import StreamWriter


def bits(distribution: object, parameters: np.ndarray | None, values: np.ndarray) -> float:
    writer = StreamWriter()
    writer.code(Pass(distribution, parameters, values.shape), values)
    return writer.bits()


@pytest.mark.parametrize("families", [FAMILIES, ("normal",)], ids=len)
def test_mixture_tables_cost_hardly_more_than_the_real_mixture(families: tuple[str, ...]) -> None:
    generator = np.random.default_rng(1)
    count = 3 * len(families)
    logits = generator.normal(0, 1, (40, 50, 4, count + (len(families) if len(families) > 1 else 0)))
    means, scales = generator.normal(0, 3, (40, 50, 4, count)), generator.normal(0, 1.5, (40, 50, 4, count))
    # Real numbers that the integers stand for exactly, so that only tables and windows are compared.
    numbers = np.concatenate((logits[..., :count] * 16, means * 32, scales * 32, logits[..., count:] * 16), axis=-1)
    integers = np.round(numbers).astype(np.int16)
    real = torch.from_numpy(integers.astype(np.float64))
    columns = [real[..., k + kind * count] / unit for k in range(count) for kind, unit in enumerate((16, 32, 32))]
    columns += [real[..., 3 * count + f] / 16 for f in range(integers.shape[-1] - 3 * count)]
    parameters = torch.stack(columns).permute(0, 3, 1, 2)[None].float()
    picked = np.round(means[..., 0] + generator.normal(0, 1, means.shape[:3])).astype(np.int16).transpose(2, 0, 1)
    likelihood = mixture_likelihood(torch.from_numpy(picked)[None].float(), parameters, families, 3)
    wanted = float(-torch.log2(likelihood.clamp_min(2.0**-16)).sum())

    found = bits(tables.mixture_tables(families, 3, skip_threshold=TOTAL), integers, picked)

    assert found == pytest.approx(wanted, rel=0.005)


def test_levels_lie_between_their_thresholds() -> None:
    made = tables.mixture_tables(("normal",), 3)
    levels = tables.scale_levels()
    x = np.round(32 * np.log(np.expm1(np.maximum(levels - 0.11, 1e-9)))).astype(np.int64)

    found = (made.thresholds[0][None, :] <= x[:, None]).sum(axis=1)

    np.testing.assert_array_equal(found, np.arange(64))


def test_prior_rows_cost_hardly_more_than_the_prior_on_its_medians_grid() -> None:
    torch.manual_seed(2)
    prior = FactorisedPrior(6)
    with torch.no_grad():
        prior.quantiles[:, 0, 1] = torch.linspace(-3.3, 4.4, 6)
    generator = np.random.default_rng(3)
    values = np.round(generator.normal(0, 4, (6, 30, 40))).astype(np.int16)
    real = torch.from_numpy(values).float() + prior.medians()[:, None, None]
    with torch.no_grad():
        wanted = float(-torch.log2(prior.likelihood(real[None])).sum())

    found = bits(tables.prior_rows(prior), None, values)

    assert found == pytest.approx(wanted, rel=0.005)


def test_prior_rows_reach_values_outside_the_window_by_escape() -> None:
    rows = tables.prior_rows(FactorisedPrior(2))
    values = np.array([[[-3000, 3000]], [[0, 700]]], np.int16)

    assert bits(rows, None, values) < 4 * 64
