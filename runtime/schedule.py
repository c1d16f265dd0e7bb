"""Execute a bundle's schedule: the one list of steps that encoder and decoder share.

Knows steps, named tensors, packing by parity and windows; knows nothing of students, engines or bytes.
Rule: docs/format.md, sections 2.2 and 3.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import reduce

import numpy as np

from fastlic.errors import BundleError
from fastlic.runtime.engines import Graph
from fastlic.runtime.entropy.passes import Pass
from fastlic.runtime.entropy.tables import Distribution
from fastlic.runtime.manifest import IMAGE, RATE, Code, Latent, Manifest, Run
from fastlic.runtime.tiles import Box, windows

Tensors = MutableMapping[str, np.ndarray]
CodePass = Callable[[Code, Pass, Mapping[str, np.ndarray]], np.ndarray]
"""Codes one pass, given all tensors so far; returns its packed values, int16 (C', h, w'), as the decoder sees them."""

Timings = MutableMapping[str, float]
"""Stage name -> seconds, accumulated."""


@contextmanager
def stage(timings: Timings | None, name: str) -> Iterator[None]:
    """Add the time spent inside to `timings[name]`."""
    start = time.perf_counter()
    yield
    if timings is not None:
        timings[name] = timings.get(name, 0.0) + time.perf_counter() - start


def gather(latent: np.ndarray, step: Code) -> np.ndarray:
    """The elements of a pass, packed.

    Args:
        latent: (C, h, w).
        step: names the channels and the parity; `w` is even unless the parity is "all".

    Returns:
        (C', h, w'), contiguous; docs/format.md section 3 defines the order.
    """
    part = latent[slice(*step.channels)]
    if step.parity == "all":
        return np.ascontiguousarray(part)
    packed = np.empty((*part.shape[:2], part.shape[2] // 2), part.dtype)
    for row, column in _parity_starts(step):
        packed[:, row::2] = part[:, row::2, column::2]
    return packed


def scatter(latent: np.ndarray, step: Code, packed: np.ndarray) -> None:
    """Write packed elements (C', h, w') back into `latent` (C, h, w); the inverse of `gather`."""
    part = latent[slice(*step.channels)]
    if step.parity == "all":
        part[...] = packed
        return
    for row, column in _parity_starts(step):
        part[:, row::2, column::2] = packed[:, row::2]


def code_tile(
    manifest: Manifest,
    steps: Iterable[Run | Code],
    box: Box,
    graphs: Mapping[str, Graph],
    distributions: Mapping[str, Distribution],
    active: Mapping[str, np.ndarray],
    code: CodePass,
    timings: Timings | None = None,
    given: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Run the tile-scope steps of one entropy tile.

    Args:
        manifest: describes latents.
        steps: those of `manifest.schedule` to run.
        box: the tile, in pixels.
        graphs: by name.
        distributions: by name.
        active: latent -> bool (C,), for the latents with a channel map.
        code: what a pass does: write the values given, or read them.
        timings: seconds per stage are added here.
        given: tensors that are there from the beginning: the rate, where the student has several.

    Returns:
        All tensors of the tile; latents as int16 (C, h, w).

    Raises:
        BundleError: a graph made parameters of another shape than the pass needs.
        CorruptedStream: `code` reads, and the streams are damaged.
    """
    tensors: dict[str, np.ndarray] = dict(given or {})
    for name, latent in manifest.coded.items():
        area = box.scaled(latent.stride)
        tensors[name] = np.zeros((latent.channels, area.height, area.width), np.int16)
    for step in steps:
        if isinstance(step, Run):
            run(step, tensors, graphs, timings)
            continue
        latent_tensor = tensors[step.latent]
        first, end = step.channels
        columns = latent_tensor.shape[2] if step.parity == "all" else latent_tensor.shape[2] // 2
        channels_active = active.get(step.latent)
        with stage(timings, f"code {step.latent} {step.parity}"):
            try:
                pass_ = Pass(
                    distribution=distributions[step.distribution],
                    parameters=None if step.parameters is None else tensors[step.parameters],
                    shape=(end - first, latent_tensor.shape[1], columns),
                    active=None if channels_active is None else channels_active[first:end],
                )
            except ValueError as error:
                raise BundleError(f"code {step.latent} {step.parity}: {error}. Export the bundle again.") from None
            scatter(latent_tensor, step, code(step, pass_, tensors))
    return tensors


def run(step: Run, tensors: Tensors, graphs: Mapping[str, Graph], timings: Timings | None = None) -> None:
    """Evaluate one graph on whole tensors and store its outputs.

    Raises:
        BundleError: the graph does not do what the manifest says.
    """
    outputs = _evaluate(step, graphs, [tensors[name] for name in step.inputs], timings)
    tensors.update(zip(step.outputs, outputs, strict=True))


def run_in_windows(
    manifest: Manifest,
    step: Run,
    padded: Box,
    tensors: Tensors,
    graphs: Mapping[str, Graph],
    timings: Timings | None = None,
    areas: Mapping[str, Box] | None = None,
) -> None:
    """Evaluate a picture-scope graph window by window; a small picture is one window.

    An output that `tensors` already holds is written in place; others are allocated.

    Args:
        padded: the padded picture, in pixels.
        areas: tensor -> the part of the padded picture, in pixels, that it covers; whole by default. Only the image's
            edges need not be multiples of `manifest.multiple`.

    Raises:
        BundleError: the graph does not do what the manifest says.
    """
    spec = manifest.graphs[step.graph]
    covered = dict.fromkeys((*step.inputs, *step.outputs), padded) | dict(areas or {})
    wanted = reduce(Box.joined, (covered[name] for name in step.outputs)).aligned(manifest.multiple)
    for inner, outer in windows(padded, manifest.multiple, spec.halo, wanted):
        fed = [
            np.ascontiguousarray(_spatial(name, tensors[name], outer.within(covered[name]).scaled(port.stride)))
            for name, port in zip(step.inputs, spec.inputs, strict=True)
        ]
        produced = _evaluate(step, graphs, fed, timings)
        for name, port, piece in zip(step.outputs, spec.outputs, produced, strict=True):
            _check_picture_output(step, name, piece, outer.scaled(port.stride))
            if name not in tensors:
                area = covered[name].scaled(port.stride)
                shape = (area.height, area.width, 3) if name == IMAGE else (*piece.shape[:-2], area.height, area.width)
                tensors[name] = np.empty(shape, piece.dtype)
            kept = inner.common(covered[name])
            target = _spatial(name, tensors[name], kept.within(covered[name]).scaled(port.stride))
            target[...] = _spatial(name, piece, kept.within(outer).scaled(port.stride))


def symbol_crc(latents: Mapping[str, Latent], tensors: Mapping[str, np.ndarray]) -> int:
    """CRC-32 of a tile's latents, docs/format.md 1.5."""
    crc = 0
    for name in latents:
        crc = zlib.crc32(np.ascontiguousarray(tensors[name], "<i2").data, crc)
    return crc


def check_tensor(name: str, tensor: np.ndarray, dtype: type[np.generic] | np.dtype, shape: tuple[int, ...]) -> None:
    """Raise `BundleError` unless a graph's output has the type and shape that the manifest implies."""
    if tensor.dtype != dtype or tensor.shape != shape:
        raise BundleError(
            f"tensor {name}: a graph gave {tensor.dtype} {tensor.shape}, {np.dtype(dtype)} {shape} is expected. "
            "Export the bundle again."
        )


def _evaluate(
    step: Run, graphs: Mapping[str, Graph], inputs: list[np.ndarray], timings: Timings | None
) -> list[np.ndarray]:
    """A graph's outputs, as many as the step names, all of them arrays."""
    with stage(timings, step.graph):
        outputs = graphs[step.graph](inputs)
    if len(outputs) != len(step.outputs) or not all(isinstance(output, np.ndarray) for output in outputs):
        kinds = ", ".join(type(output).__name__ for output in outputs)
        raise BundleError(
            f"graph {step.graph}: gave ({kinds}), {len(step.outputs)} arrays are expected. Export the bundle again."
        )
    return outputs


def _check_picture_output(step: Run, name: str, piece: np.ndarray, area: Box) -> None:
    """Raise `BundleError` unless a window's output covers `area` elements."""
    if name == IMAGE:
        check_tensor(name, piece, np.uint8, (area.height, area.width, 3))
    elif piece.shape[-2:] != (area.height, area.width):
        raise BundleError(
            f"tensor {name}: graph {step.graph} gave {piece.shape}, (..., {area.height}, {area.width}) is expected. "
            "Export the bundle again."
        )


def _parity_starts(step: Code) -> tuple[tuple[int, int], tuple[int, int]]:
    """(first row, first column) of the even and of the odd rows."""
    offset = 0 if step.parity == "even" else 1
    return (0, offset), (1, 1 - offset)


def _spatial(name: str, tensor: np.ndarray, box: Box) -> np.ndarray:
    """The part of a tensor inside a box given in its own elements; the rate has no parts."""
    if name == RATE:
        return tensor
    rows, columns = box.slices
    return tensor[rows, columns] if name == IMAGE else tensor[..., rows, columns]
