from __future__ import annotations

import pytest
import torch

from fastlic.errors import CheckpointError
from fastlic.export.distill.starting import scale_latent

FACTOR = 1.5


@pytest.fixture
def pair(build):
    """A student, and the same with a latent `FACTOR` times as large."""
    scaled = build()
    state = scaled.state_dict()
    scale_latent(state, FACTOR, scaled)
    scaled.load_state_dict(state)
    return build(), scaled


@torch.no_grad()
def test_scale_latent_scales_what_is_written_and_nothing_that_is_read(pair):
    before, after = pair
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    latent = before.g_a(picture)

    torch.testing.assert_close(after.g_a(picture), FACTOR * latent)
    for part in ("g_s", "h_a", "context"):
        torch.testing.assert_close(getattr(after, part)(FACTOR * latent), getattr(before, part)(latent))


@pytest.mark.parametrize(("pass_name", "components"), [("anchor", 9), ("nonanchor", 3)])
@torch.no_grad()
def test_scale_latent_scales_means_and_small_scales_and_leaves_weights(pair, pass_name, components):
    generator = torch.Generator().manual_seed(0)
    hyper = torch.randn(1, 12, 4, 4, generator=generator)
    arguments = (hyper,) if pass_name == "anchor" else (hyper, torch.zeros(1, 6, 4, 4))

    one, two = (getattr(model, f"{pass_name}_parameters")(*arguments) for model in pair)

    mixtures = slice(3 * components)
    torch.testing.assert_close(two[:, mixtures][:, 1::3], FACTOR * one[:, mixtures][:, 1::3])
    torch.testing.assert_close(two[:, mixtures][:, 2::3].exp(), FACTOR * one[:, mixtures][:, 2::3].exp())
    torch.testing.assert_close(two[:, mixtures][:, 0::3], one[:, mixtures][:, 0::3])
    torch.testing.assert_close(two[:, 3 * components :], one[:, 3 * components :])


@pytest.mark.parametrize("block", ["attention", "residual_blocks"])
def test_scale_latent_behind_other_blocks_is_refused(build, block):
    model = build(**{block: True})

    with pytest.raises(CheckpointError, match="only a student without"):
        scale_latent(model.state_dict(), FACTOR, model)
