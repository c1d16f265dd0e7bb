"""Forms: how a graph of a bundle is written for one engine, and where finished forms are kept.

Knows the kinds of forms and the names of their files; how one is made is `fastlic.export.forms`' matter, which
`fastlic build` calls. So a decoder needs no ONNX library.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastlic.errors import EngineUnavailable
from fastlic.runtime.cache import Cache, default_folder

REVISION = 1
"""Of the rewriting: forms that an earlier one made are not found any more."""

Deform = Literal["standard", "plugin", "library", "grid-sample"]
Precision = Literal["f32", "f16"]
Types = Literal["onnx", "tensorrt"]
Products = Literal["matrix", "convolution"]


@dataclass(frozen=True)
class Form:
    """A way to write a graph.

    Attributes:
        deform: a deformable convolution is ONNX's `DeformConv`; our TensorRT plugin, compiled ahead of time into the
            engine ("plugin") or loaded from a C++ library ("library"); or GridSample and a plain convolution.
        precision: of what is not exact: float32, or float16 with float32 where squares and roots would leave its range.
        types: of ports. "tensorrt" has no int16: such a port is uint8 with a last axis of 2, the same bytes in memory
            (little endian); weights are float and nothing but a port is uint8.
        products: with constant matrices are `MatMul`, or convolutions of 1x1, which compute the same.
    """

    deform: Deform = "standard"
    precision: Precision = "f32"
    types: Types = "onnx"
    products: Products = "matrix"

    @property
    def name(self) -> str:
        """Short, for files and reports."""
        return f"{self.types}-{self.deform}-{self.precision}{'' if self.products == 'matrix' else '-' + self.products}"


def graph_hash(model: bytes) -> str:
    """What stands for a graph in names of cached files: 32 hexadecimal digits."""
    return hashlib.sha256(model).hexdigest()[:32]


class FormCache:
    """The finished forms of a user.

    Args:
        folder: None takes the user's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._files = Cache((folder or default_folder()) / "forms")

    def find(self, model: bytes, form: Form) -> bytes | None:
        """The form of a graph, an ONNX model, or None when it was not made yet (or is damaged).

        Args:
            model: the graph as it stands in the bundle.
            form: which.
        """
        return self._files.read(_file(model, form))

    def store(self, model: bytes, form: Form, made: bytes) -> None:
        """Keep a form.

        Raises:
            OSError: the cache cannot be written to.
        """
        self._files.write(_file(model, form), made)


def half_form(cache: FormCache, model: bytes, name: str) -> bytes:
    """A graph in float16, as `fastlic build` has made it.

    Args:
        cache: where to look.
        model: the graph as it stands in the bundle.
        name: of the graph, for the message.

    Raises:
        EngineUnavailable: it was not made yet; the message says how to.
    """
    made = cache.find(model, Form(precision="f16"))
    if made is None:
        raise EngineUnavailable(
            f"graph {name} was not written in float16 yet. Run `fastlic build STUDENT.licb --engine ort-cuda` once, or "
            "choose precision='f32'."
        )
    return made


def _file(model: bytes, form: Form) -> str:
    return f"{graph_hash(model)}-{form.name}-{REVISION}.onnx"
