"""Does a bundle do what its checkpoint does? Every check raises; nothing here warns.

Knows what equality means for each graph; knows nothing of how graphs were made. Exact graphs must equal the integer
reference bit for bit. Transforms are floating point: what they give must be the rounding of something no further from
the float64 network than eight times what PyTorch's own float32 evaluation is.
Rule: docs/exactness.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from fastlic.errors import VerificationFailed
from fastlic.export.integer.certificate import worst_sign_input
from fastlic.export.integer.emission import layer_graph
from fastlic.export.integer.lattice import Layer
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.engines import Engine

EXACT_ENGINES: tuple[tuple[str, int, Mapping[str, str]], ...] = (
    ("ort-cpu", 1, {"optimisation": "all"}),
    ("ort-cpu", 2, {"optimisation": "all"}),
    ("ort-cpu", 1, {"optimisation": "basic"}),
    ("ort-cpu", 1, {"optimisation": "none"}),
    ("torch", 1, {}),
)
"""Engine, threads, options: exact graphs must give equal bits on all of them."""
ERROR_RATIO = 8.0
"""A float32 evaluation may be this many times as far from float64 as PyTorch's float32 evaluation.

Engines add up the products of a convolution one after the other, PyTorch block by block: 3.5 times was met for the
3,200 of 5x5 and 128 channels, 4.9 times for the 4,800 of 192 channels.
"""
WORST_OUTPUTS = 24


@dataclass
class Report:
    """What was checked, for the manifest."""

    exact: list[str] = field(default_factory=list)
    transforms: dict[str, dict[str, float]] = field(default_factory=dict)
    round_trips: list[str] = field(default_factory=list)


def round_trip(packed: bytes, pictures: Sequence[np.ndarray], report: Report, *, other: str = "torch") -> list[bytes]:
    """Encode and decode through the runtime, pictures of any size.

    Args:
        packed: the bundle.
        pictures: uint8 (H, W, 3).
        report: receives sizes.
        other: engine of a second decoder, whose pixels may differ by one level.

    Returns:
        The files.

    Raises:
        VerificationFailed: a decoded picture is not what the same symbols give.
    """
    files = []
    with Encoder(packed, engine="ort-cpu") as encoder, Decoder(packed, engine="ort-cpu") as decoder:
        second = Decoder(packed, engine=other, entropy="constriction")
        for picture in pictures:
            data = encoder.encode(picture)
            decoded = decoder.decode(data)
            if decoded.shape != picture.shape:
                raise VerificationFailed(f"round trip: {picture.shape} came back as {decoded.shape}.")
            distance = np.abs(decoded.astype(np.int16) - second.decode(data)).max()
            if distance > 1:
                raise VerificationFailed(f"round trip: ort-cpu and {other} differ by {distance} levels; 1 is allowed.")
            files.append(data)
            report.round_trips.append(f"{picture.shape[1]}x{picture.shape[0]}: {len(data)} bytes")
        second.close()
    return files


def require_near(
    name: str,
    found: Tensor,
    single: Tensor,
    exact: Tensor,
    report: Report,
    *,
    rounded: bool = False,
    least: float = 0.0,
) -> float:
    """`found` within the tolerance of `exact`, and within half a unit more where it was rounded.

    Returns:
        The error of PyTorch's own evaluation, or `least` if that is more: what it was elsewhere in the same network.
    """
    own = max(least, float((single.double() - exact).abs().max()))
    # Where PyTorch is exact by luck, one unit in the last place of the largest value is still fair.
    allowed = ERROR_RATIO * max(own, float(exact.abs().max()) * 2.0**-23) + (0.5 if rounded else 0)
    error = float((found.double() - exact).abs().max())
    if not error <= allowed:
        raise VerificationFailed(f"{name}: {error:.3g} from float64 on {tuple(exact.shape)}, {allowed:.3g} is allowed.")
    known = report.transforms.setdefault(name, {"error": 0.0, "allowed": 0.0})
    known["error"], known["allowed"] = max(known["error"], error), max(known["allowed"], allowed)
    return own


def require_equal(what: str, found: np.ndarray, wanted: np.ndarray) -> None:
    """Raise `VerificationFailed` unless two arrays are equal in shape and every number."""
    differing = int((found != wanted).sum()) if found.shape == wanted.shape else -1
    if differing:
        detail = f"shape {found.shape} instead of {wanted.shape}" if differing < 0 else f"{differing} numbers differ"
        raise VerificationFailed(f"{what}: {detail}; exact graphs must be equal.")


def worst_signs(engine: Engine, layers: Iterable[Layer], label: str) -> None:
    """Every product of the layers on the inputs that bring its outputs to their bounds.

    Raises:
        VerificationFailed: one number differs from int64 arithmetic.
    """
    for layer in layers:
        for number, product in enumerate(layer.products):
            alone = isolated(layer, number)
            chosen = np.linspace(0, len(layer.bias) - 1, min(WORST_OUTPUTS, len(layer.bias))).astype(int)
            rows = np.stack([worst_sign_input(product, output) for output in chosen])
            rows = np.concatenate((rows, -rows))
            (found,) = engine.load(layer_graph(alone), layer.name, exact=True)([rows.astype(np.float32)])
            wanted = alone.finish((rows @ alone.products[0].weight + alone.bias)[None])[0]
            require_equal(f"{layer.name}, worst signs of product {number}, {label}", found, wanted)


def isolated(layer: Layer, number: int) -> Layer:
    """A layer of one product of `layer`, with its activation, not interleaved."""
    product = layer.products[number]
    shift = np.maximum(product.shift, 0)
    bias = layer.bias if len(layer.products) == 1 else np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    exponent = np.maximum(-product.shift, 0)
    scaled = replace(product, weight=product.weight << exponent, shift=shift)
    return replace(layer, products=(scaled,), bias=bias, fraction=shift, upsample=False)
