"""Affine layers in floating point: what is put on the integer lattice, and how torch's layers become one.

Knows convolutions as displaced matrix products; knows nothing of students or integers. A transposed convolution of
stride 2 and a sub-pixel convolution are the same thing here: one layer of four phases, which are interleaved.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Taps = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Source:
    """What one input contributes to an affine layer.

    Attributes:
        taps: (row, column) displacements.
        weight: (taps, inputs, outputs) float64.
    """

    taps: Taps
    weight: np.ndarray

    @cached_property
    def kernel(self) -> Tensor:
        """The same as a convolution's weight, (outputs, inputs, k, k) float32."""
        reach = max(max(abs(row), abs(column)) for row, column in self.taps)
        _, inputs, outputs = self.weight.shape
        kernel = np.zeros((outputs, inputs, 2 * reach + 1, 2 * reach + 1))
        for (row, column), matrix in zip(self.taps, self.weight, strict=True):
            kernel[:, :, reach + row, reach + column] = matrix.T
        return torch.from_numpy(kernel).float()


@dataclass(frozen=True)
class Affine:
    """sum over sources of weight . input + bias; then, except in the last layer of a chain, a leaky ReLU.

    `bias` is (outputs,) float64. With `upsample` the outputs are four phases, (row, column) = (0, 0), (0, 1), (1, 0),
    (1, 1), of outputs / 4 channels each, which are interleaved to twice the height and width.
    """

    name: str
    sources: tuple[Source, ...]
    bias: np.ndarray
    upsample: bool = False

    def __call__(self, *inputs: Tensor) -> Tensor:
        """(1, C, h, w) float each -> (1, outputs, h, w), or (1, outputs / 4, 2h, 2w)."""
        total = torch.from_numpy(self.bias).float()[None, :, None, None]
        for source, x in zip(self.sources, inputs, strict=True):
            kernel = source.kernel
            total = total + functional.conv2d(x, kernel, padding=kernel.shape[2] // 2)
        if self.upsample:
            total = functional.pixel_shuffle(total.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2), 2)
        return total


def convolution(module: nn.Module, alive: np.ndarray | None = None) -> tuple[Source, np.ndarray]:
    """A convolution of stride 1 as taps, and its bias; taps that are not `alive`, bool (k, k), are left out."""
    weight = module.get_parameter("weight").detach().double().numpy()
    size = weight.shape[2]
    kept = [(i, j) for i in range(size) for j in range(size) if alive is None or alive[i, j]]
    matrices = np.stack([weight[:, :, i, j].T for i, j in kept])
    taps = tuple((i - size // 2, j - size // 2) for i, j in kept)
    return Source(taps, matrices), module.get_parameter("bias").detach().double().numpy()


def subpixel(module: nn.Module) -> tuple[Source, np.ndarray]:
    """A convolution before a pixel shuffle: its columns go from (channel, phase) to (phase, channel)."""
    source, bias = convolution(module)
    order = np.arange(len(bias)).reshape(-1, 4).T.ravel()
    return Source(source.taps, source.weight[:, :, order]), bias[order]


def phases_of(module: nn.ConvTranspose2d) -> nn.Conv2d:
    """The convolution whose outputs, pixel shuffled, are those of a transposed convolution of stride 2.

    Output row 2i + a gets kernel rows k with a - k + k0 even (k0 the padding) from input row i + (a - k + k0) / 2, so
    that each phase is a convolution of its own; where phases have no weight, the kernel is zero.

    Args:
        module: k x k, k odd, stride 2, padding k // 2, output padding 1: it doubles height and width.

    Returns:
        inputs -> 4 * outputs channels, (channel, phase), stride 1.
    """
    weight = module.weight.detach()
    inputs, outputs, size, _ = weight.shape
    reach = (size // 2 + 1) // 2
    made = nn.Conv2d(inputs, 4 * outputs, 2 * reach + 1, padding=reach).to(weight)
    kernel = torch.zeros_like(made.weight)
    by_phase = kernel.view(outputs, 2, 2, inputs, 2 * reach + 1, 2 * reach + 1)
    for i in range(size):
        for j in range(size):
            a, b = (i + size // 2) % 2, (j + size // 2) % 2
            row, column = (a - i + size // 2) // 2 + reach, (b - j + size // 2) // 2 + reach
            by_phase[:, a, b, :, row, column] = weight[:, :, i, j].T
    made.weight.data = kernel
    made.bias.data = module.get_parameter("bias").detach().repeat_interleave(4)  # type: ignore[union-attr]
    return made


def affine_of(name: str, module: nn.Module) -> Affine:
    """A layer of a hyper synthesis or a context network.

    Args:
        name: of the layer.
        module: a convolution of stride 1; a convolution followed by a pixel shuffle by 2; or a transposed convolution
            of stride 1 or 2 that keeps or doubles the size.
    """
    if isinstance(module, nn.Sequential):
        source, bias = subpixel(module[0])
        return Affine(name, (source,), bias, upsample=True)
    if isinstance(module, nn.ConvTranspose2d) and module.stride == (2, 2):
        source, bias = subpixel(phases_of(module))
        return Affine(name, (source,), bias, upsample=True)
    source, bias = convolution(module)
    if isinstance(module, nn.ConvTranspose2d):
        weight = module.weight.detach().double().numpy()  # (inputs, outputs, k, k), displaced the other way
        matrices = np.stack([weight[:, :, centre[0], centre[1]] for centre in np.ndindex(*weight.shape[2:])])
        taps = tuple((-row, -column) for row, column in source.taps)
        source = Source(taps, matrices)
    return Affine(name, (source,), bias)
