"""BG-VAE cut into graphs: one per latent on the way down, pinned, because attention and layer norm are not integers.

Knows the schedule; the networks are `bgvae`'s. Encoder and decoder run the same pinned graphs: the analysis walks down
with each latent's posterior in between, so what the encoder codes rests on the state that the decoder will have.
Rule: docs/format.md, section 2.2 (`rate`, pinned graphs); docs/exactness.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fastlic.export.integer.folding import MEAN_UNIT, SCALE_UNIT
from fastlic.export.recipe import PICTURE, SELECTED, Arrays, Entropy, FloatGraph, Recipe, Tensors, Transform
from fastlic.export.students.bgvae import GAUSSIAN, STRIDES, BgVae
from fastlic.export.students.likelihood import LIKELIHOOD_FLOOR, mixture_likelihood
from fastlic.export.tables import mixture_tables
from fastlic.runtime.entropy.tables import TOTAL
from fastlic.runtime.manifest import RATE, Code, Latent, Run

DISTRIBUTION = "gaussian"
FINEST = len(STRIDES) - 1


def recipe_of(model: BgVae) -> Recipe:
    """The recipe of one trained student."""
    settings = model.configuration
    places = settings.places
    last = len(places) - 1
    latents = [Tensors(f"z{i + 1}", STRIDES[stage], channels, "latent") for i, (stage, channels) in enumerate(places)]
    states = [Tensors(f"state{i + 1}", STRIDES[stage], settings.widths[stage]) for i, (stage, _) in enumerate(places)]
    gaussians = [Tensors(f"gaussian{i + 1}", STRIDES[stage], kind="parameters") for i, (stage, _) in enumerate(places)]
    features = [Tensors(f"features{stride}", stride, settings.widths[s]) for s, stride in enumerate(STRIDES)]
    graphs = {
        "bottom_up": FloatGraph(_BottomUp(model), (PICTURE, SELECTED), (features[FINEST],)),
        "pyramid": FloatGraph(_Pyramid(model), (features[FINEST], SELECTED), tuple(features[2::-1]), "tile"),
        "start": FloatGraph(_Start(model), (latents[0], SELECTED), (states[0], gaussians[0]), "tile", pinned=True),
        "synthesis": FloatGraph(_Synthesis(model), (states[last], latents[last], SELECTED), (PICTURE,)),
        "posterior1": FloatGraph(_FirstPosterior(model), (features[0], SELECTED), (latents[0],), "tile"),
    }
    for i in range(last):
        graphs[f"down{i + 1}"] = FloatGraph(
            _Down(model, i), (states[i], latents[i], SELECTED), (states[i + 1], gaussians[i + 1]), "tile", pinned=True
        )
    for i in range(1, last + 1):
        seen = (states[i], features[places[i][0]], SELECTED)
        graphs[f"posterior{i + 1}"] = FloatGraph(_Posterior(model, i), seen, (latents[i],), "tile")

    def run(name: str) -> Run:
        graph = graphs[name]
        return Run(name, tuple(port.name for port in graph.inputs), tuple(port.name for port in graph.outputs))

    analysis, schedule = [run("bottom_up"), run("pyramid"), run("posterior1"), run("start")], [run("start")]
    steps: list[Run | Code] = list(schedule)
    for i, (_, channels) in enumerate(places):
        steps.append(Code(latents[i].name, DISTRIBUTION, (0, channels), parameters=gaussians[i].name))
        steps.append(run(f"down{i + 1}" if i < last else "synthesis"))
        if i < last:
            analysis += [run(f"down{i + 1}"), run(f"posterior{i + 2}")]
    return Recipe(
        multiple=model.multiple,
        latents={port.name: Latent(port.channels, port.stride) for port in latents},
        analysis=tuple(analysis),
        schedule=tuple(steps),
        transforms=graphs,
        entropy=lambda samples: _entropy(model, samples),
        rates=len(settings.lambdas),
    )


def _entropy(model: BgVae, samples: Sequence[Arrays]) -> Entropy:
    """One Gaussian for all latents, its levels up to the largest scale that the samples met.

    Nothing is skipped: a substituted symbol would change the state under the posteriors that were already found.
    """
    largest = max(
        float(tensors[name][..., 2].max()) / SCALE_UNIT for tensors in samples for name in tensors if "gaussian" in name
    )
    top = float(np.clip(np.exp2(np.ceil(np.log2(1.5 * max(largest, 1)))), 16, 256))
    tables = mixture_tables(GAUSSIAN, 1, top, skip_threshold=TOTAL)
    return Entropy({DISTRIBUTION: tables}, lambda tensors: _float_bits(model, tensors))


@torch.no_grad()
def _float_bits(model: BgVae, tensors: Arrays) -> float:
    """The model's own bits for a picture's latents: its likelihoods along the way down, nothing rounded but them."""
    rate = torch.from_numpy(tensors[RATE])
    state, bits = model.first_state(torch.from_numpy(tensors["z1"])), 0.0
    for i in range(len(model.configuration.places)):
        latent = torch.from_numpy(tensors[f"z{i + 1}"]).float()[None]
        gain = model.gains[i](rate)
        likelihood = mixture_likelihood(latent, model.priors[i](state, gain), GAUSSIAN, 1)
        bits -= float(torch.log2(likelihood.double().clamp_min(LIKELIHOOD_FLOOR)).sum())
        state = model.absorb[i](state, latent / gain, rate)
    return bits


def _coded(numbers: Tensor) -> Tensor:
    """A prior's numbers (1, 3, C, h, w) -> (h, w, C, 3) in the format's units, not rounded."""
    units = numbers.new_tensor([0.0, MEAN_UNIT, SCALE_UNIT])
    return numbers[0].permute(2, 3, 1, 0) * units


class _BottomUp(Transform):
    """image, rate -> features at stride 8."""

    def __init__(self, model: BgVae) -> None:
        super().__init__()
        self.network = model.bottom_up

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        return (self.network(inputs[0][None], inputs[1])[0],)


class _Pyramid(Transform):
    """features at stride 8, rate -> features at strides 16, 32, 64."""

    def __init__(self, model: BgVae) -> None:
        super().__init__()
        self.network = model.pyramid

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        return tuple(found[0] for found in self.network(inputs[0][None], inputs[1]))


class _Start(Transform):
    """z1, of which only the size is read, and rate -> the first state and the Gaussian of z1."""

    def __init__(self, model: BgVae) -> None:
        super().__init__()
        self.constant, self.prior, self.gain = model.start, model.priors[0], model.gains[0]

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        state = self.constant.expand(-1, inputs[0].shape[1], inputs[0].shape[2])[None]
        return state[0], _coded(self.prior(state, self.gain(inputs[1])))


class _Down(Transform):
    """state i, z i, rate -> state i + 1 and the Gaussian of z i + 1."""

    def __init__(self, model: BgVae, place: int) -> None:
        super().__init__()
        self.absorb, self.prior = model.absorb[place], model.priors[place + 1]
        self.gain, self.next_gain = model.gains[place], model.gains[place + 1]

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        state, latent, rate = inputs
        following = self.absorb(state[None], latent.to(state.dtype)[None] / self.gain(rate), rate)
        return following[0], _coded(self.prior(following, self.next_gain(rate)))


class _Posterior(Transform):
    """state i, features of its stride, rate -> z i."""

    def __init__(self, model: BgVae, place: int) -> None:
        super().__init__()
        self.network, self.gain = model.posteriors[place], model.gains[place]

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        state, features, rate = inputs
        return ((self.network(state[None], features[None], rate) * self.gain(rate))[0],)


class _FirstPosterior(Transform):
    """features at stride 64, rate -> z1: the first state is a constant."""

    def __init__(self, model: BgVae) -> None:
        super().__init__()
        self.constant, self.network, self.gain = model.start, model.posteriors[0], model.gains[0]

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        features, rate = inputs
        state = self.constant.expand(-1, features.shape[1], features.shape[2])[None]
        return ((self.network(state, features[None], rate) * self.gain(rate))[0],)


class _Synthesis(Transform):
    """last state, last latent, rate -> image."""

    def __init__(self, model: BgVae) -> None:
        super().__init__()
        self.absorb, self.gain = model.absorb[-1], model.gains[-1]
        self.to_picture = model.to_picture

    def values(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Shapes as in `Transform.values`."""
        state, latent, rate = inputs
        entered = latent.to(state.dtype)[None] / self.gain(rate)
        return (255 * self.to_picture(self.absorb(state[None], entered, rate))[0],)
