"""What a training run is asked to do: the TOML file of `fastlic distill`.

Knows names, types and ranges; knows nothing of tensors. Unknown keys are errors, so that a typing mistake is not a
default.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from fastlic.errors import ConfigurationError

Count = Annotated[int, Meta(ge=1)]
Steps = Annotated[int, Meta(ge=0)]
Weight = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """Weights to begin with.

    `checkpoint`: a `.pt` with its `.json`; `fresh`: name prefixes of parameters that keep their random start instead;
    `latent`: factor on the latent, for another trade-off than the checkpoint's (the root of their quotient).
    """

    checkpoint: Path
    fresh: tuple[str, ...] = ()
    latent: Annotated[float, Meta(gt=0)] = 1.0


class Teacher(Struct, frozen=True, forbid_unknown_fields=True):
    """The network to learn from.

    `weight` (lambda3) counts for the first `iterations`, then the student trains alone. `joint`: the teacher goes on
    training on its own loss. The four shares weigh the mean squared differences of picture, anchor parameters,
    non-anchor parameters and latent; `emphasis`: the latent's channels count by the bits that the teacher spends on
    them; `features` weighs the relative squared differences of the features after each stage of both transforms.
    """

    checkpoint: Path
    joint: bool = False
    weight: Weight = 1.0
    iterations: Steps = 20_000
    picture: Weight = 1.0
    anchors: Weight = 1.0
    nonanchors: Weight = 1.0
    latent: Weight = 0.0
    emphasis: bool = False
    features: Weight = 0.0


class Data(Struct, frozen=True, forbid_unknown_fields=True):
    """Crops to learn from.

    `archives`: tar files of pictures, read without unpacking; `patch`: side of a training patch, a multiple of 64;
    `held_out`: share of the source pictures kept for the watch; `zoom`: patches are scaled down by up to this factor.
    """

    archives: tuple[Path, ...]
    batch: Count = 8
    patch: Annotated[int, Meta(ge=64, multiple_of=64)] = 128
    held_out: Share = 0.05
    zoom: Annotated[float, Meta(ge=1, le=4)] = 1.5


class Loss(Struct, frozen=True, forbid_unknown_fields=True):
    """What is minimised: `trade_off` (lambda1) x distortion + bits per pixel + `sparsity` (lambda2) x |y|_1.

    `mse` is on the 0-255 scale; `ms-ssim` is 1 - MS-SSIM. The L1 term counts for the first `sparsity_iterations`.
    `rate`: likelihoods are taken of latents with uniform noise, which transforms can learn from, or of rounded ones,
    which are what is coded: for a last tuning of the entropy networks. The rate of z counts by `hyper` at first,
    rising to 1 at `hyper_iterations`: what the networks behind z cannot use yet, they can learn to use before it has
    to pay for itself.
    """

    trade_off: Annotated[float, Meta(gt=0)]
    distortion: Literal["mse", "ms-ssim"] = "mse"
    sparsity: Weight = 0.0
    sparsity_iterations: Steps = 10_000
    rate: Literal["noise", "rounding"] = "noise"
    hyper: Share = 0.0
    hyper_iterations: Steps = 0


class Optimiser(Struct, frozen=True, forbid_unknown_fields=True):
    """How it is minimised: a linear warm-up, then a fall from `learning_rate` to `final_learning_rate`.

    `method`: Adam, or SOAP for the transforms, which needs `fastlic[distill]`. `decay`: the shape of that fall, half a
    cosine or a straight line. `train`: name prefixes of the trained parameters, empty for all. `offsets_from`: the
    iteration at which deformable offsets are switched on, plain convolution before. `prior`: factor on the rate for the
    factorised prior, which starts far from any z and would hold its share of the bits up for thousands of iterations.
    `ema`: decay of the averaged weights, which are what is kept.
    """

    iterations: Count
    learning_rate: Annotated[float, Meta(gt=0)] = 1e-4
    final_learning_rate: Weight = 0.0
    method: Literal["adam", "soap"] = "adam"
    decay: Literal["cosine", "linear"] = "cosine"
    warm_up: Steps = 200
    clip: Annotated[float, Meta(gt=0)] = 1.0
    ema: Share = 0.999
    bfloat16: bool = False
    offsets_from: Steps = 0
    train: tuple[str, ...] = ()
    prior: Annotated[float, Meta(gt=0)] = 10.0


class Watch(Struct, frozen=True, forbid_unknown_fields=True):
    """What is looked at while training.

    Every `every` iterations the averaged weights code `pictures` full pictures of held-out crops; `save`: iterations
    between two states; `report`: between two lines of progress.
    """

    every: Count = 1000
    pictures: Count = 4
    save: Count = 500
    report: Count = 50


class Run(Struct, frozen=True, forbid_unknown_fields=True):
    """One training run.

    `student`: a student's configuration as in its JSON file, conventions may be left out; `output`: a folder, made when
    missing; `threads`: of torch on the CPU, 0 leaves the choice to it.
    """

    name: str
    output: Path
    student: dict[str, Any]
    data: Data
    loss: Loss
    optimiser: Optimiser
    seed: int = 0
    device: Literal["cpu", "cuda"] = "cpu"
    threads: Steps = 0
    start: Start | None = None
    teacher: Teacher | None = None
    watch: Watch = Watch()


def read(path: Path) -> Run:
    """Read and check a TOML file; relative paths in it are taken from the current folder.

    Args:
        path: the file.

    Returns:
        The run it asks for.

    Raises:
        ConfigurationError: the file is missing, is not TOML, or a key is unknown, missing or out of range.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as TOML ({error})") from error
    try:
        return msgspec.convert(raw, Run, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {error}. docs/distillation.md lists the keys") from error


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"expected {kind.__name__}, got {value!r}")
