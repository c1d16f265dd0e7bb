"""Look into a finished engine: does it compute what was asked for, in the way that was asked for?

Knows the report of TensorRT's engine inspector, layer by layer; knows nothing of how engines are built or run.
An engine that does something else is refused: a wrong precision costs exactness, a missing plugin the time it saves.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fastlic.errors import BundleError
from fastlic.kernels.tensorrt import plugin
from fastlic.runtime.engines.tensorrt.library import Library
from fastlic.runtime.forms import Form

_HALF = re.compile(r"\b(fp16|float16|half)\b", re.IGNORECASE)
_TF32 = re.compile(r"tf32", re.IGNORECASE)


def report(library: Library, engine: Any) -> list[dict[str, Any]]:
    """What the inspector says of each layer; layers that it only names have nothing but `Name`."""
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(library.trt.LayerInformationFormat.JSON)
    layers = json.loads(text).get("Layers", [])
    return [layer if isinstance(layer, dict) else {"Name": str(layer)} for layer in layers]


def problem(layers: list[dict[str, Any]], form: Form, plugins: int) -> str | None:
    """What is wrong with an engine, or None.

    Args:
        layers: as `report` gives them.
        form: that it was built from.
        plugins: how many nodes of our plugin the form has.
    """
    if not layers:
        return "the inspector shows no layers"
    texts = [json.dumps(layer) for layer in layers]
    if any(_TF32.search(text) for text in texts):
        return "a layer computes in TF32"
    half = sum(bool(_HALF.search(text)) for text in texts)
    if form.precision == "f32" and half:
        return f"{half} layers compute in half precision"
    if form.precision == "f16" and not half:
        return "no layer computes in half precision"
    found = {match for text in texts for match in re.findall(rf"{plugin.NODE_PREFIX}\d+", text)}
    if form.deform in ("plugin", "library") and len(found) != plugins:
        return f"{len(found)} of {plugins} layers are {plugin.NAMESPACE}'s plugin"
    return None


def check(library: Library, engine: Any, name: str, form: Form, plugins: int) -> None:
    """Raise `BundleError` unless an engine does what was asked for."""
    wrong = problem(report(library, engine), form, plugins)
    if wrong is not None:
        raise BundleError(
            f"graph {name}: {library.title} {library.version} built another engine than was asked for: {wrong}. It is "
            "not used; report this, and decode with the engine ort-cuda."
        )


def count_plugins(model: bytes) -> int:
    """How many nodes of our plugin a form has. Their names stand in the model as they are."""
    return len(set(re.findall(rf"{plugin.NODE_PREFIX}\d+".encode(), model)))
