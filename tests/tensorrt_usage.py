"""What fastlic uses of TensorRT's Python interface, read from its own sources, and what a binding has of it.

Names reached from a module called `trt` or `trtp`, and attributes of variables that hold an object of a known class.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fastlic.kernels.tensorrt
import fastlic.runtime.engines.tensorrt

SOURCES = [
    Path(fastlic.runtime.engines.tensorrt.__file__).parent / name
    for name in ("building.py", "inspection.py", "execution.py", "library.py")
] + [Path(fastlic.kernels.tensorrt.__file__).parent / "plugin.py"]

# Variable (without leading underscores) -> the class of what it holds, in these sources.
CLASSES = {
    "builder": "Builder",
    "compiled": "IRuntimeCache",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "registry": "IPluginRegistry",
    "runtime": "Runtime",
    "settings": "IRuntimeConfig",
    "tensor": "ITensor",
    "timings": "ITimingCache",
}
# Only one of the libraries has these, and only that one is asked for them.
RTX_ONLY = {
    "ComputeCapability.__members__",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IRuntimeCache.deserialize",
    "IRuntimeCache.serialize",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.set_runtime_cache",
}
TENSORRT_ONLY = re.compile(r"plugin\.|QuickPluginCreationRequest$|IPluginRegistry\.")


class Use(NamedTuple):
    """One use: the name below the module, and the number of arguments when it is called."""

    name: str
    arguments: int | None

    def __str__(self) -> str:
        return self.name if self.arguments is None else f"{self.name}({self.arguments})"


def uses() -> set[Use]:
    """Everything that the sources use."""
    return {use for path in SOURCES for use in _uses_in(ast.parse(path.read_text(encoding="utf-8")))}


def problems(module: Any, used: set[Use]) -> list[str]:
    """What a binding does not have, or has with another number of arguments."""
    found = []
    for use in sorted(used, key=str):
        target = module
        for part in use.name.split("."):
            target = getattr(target, part, None)
        if target is None:
            found.append(f"there is no {use.name}")
        elif use.arguments is not None and use.arguments not in (known := _argument_counts(target)) and known:
            found.append(f"{use.name} takes {sorted(known)} arguments, not {use.arguments}")
    return found


def _uses_in(tree: ast.AST) -> Iterator[Use]:
    called = {
        id(node.func): len(node.args) + len(node.keywords) for node in ast.walk(tree) if isinstance(node, ast.Call)
    }
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        parts = ast.unparse(node).split(".")
        for module, prefix in (("trt", ""), ("trtp", "plugin.")):
            if module in parts[:-1] and parts[-1] != "__init__":
                yield Use(prefix + ".".join(parts[parts.index(module) + 1 :]), called.get(id(node)))
        holder = parts[-2].lstrip("_")
        if holder in CLASSES and "trt" not in parts:
            yield Use(f"{CLASSES[holder]}.{parts[-1]}", called.get(id(node)))


def _argument_counts(function: Any) -> set[int]:
    """Numbers of arguments that a function of pybind11 takes, by the signatures in its documentation."""
    counts: set[int] = set()
    for text in re.findall(r"^(?:\d+\. )?\w+\((.*)\) -> ", getattr(function, "__doc__", None) or "", re.MULTILINE):
        parameters = [word for word in _split(text) if not word.startswith("self")]
        if any(word.startswith("*") for word in parameters):
            continue
        optional = sum("=" in word for word in parameters)
        counts |= set(range(len(parameters) - optional, len(parameters) + 1))
    return counts


def _split(text: str) -> list[str]:
    """A parameter list at its own commas, not those inside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]
