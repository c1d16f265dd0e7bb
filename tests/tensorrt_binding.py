"""Import TensorRT's real Python binding where its libraries are not, and ask it about fastlic.

Run as a program: python tests/tensorrt_binding.py FOLDER

The binding needs ten functions of three libraries when it is loaded; a stub that defines them stands in (nothing of it
is ever run but the registry, which is replaced in Python). The classes of the plugin interface that have no constructor
in Python are replaced by plain ones, so that `tensorrt.plugin`, which is Python, runs as it is.

Prints one line of JSON: what the binding lacks of what fastlic uses, and what TensorRT's own code makes of our plugin.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry"),
    *("getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins", "getLogger"),
)
CASES = [(1, 32, 48, 64, 64), (1, 64, 96, 128, 128), (2, 33, 47, 96, 192), (1, 128, 192, 256, 256), (1, 1, 1, 8, 8)]
"""Batch, height, width, input and output channels."""


def stub(folder: Path, major: str) -> None:
    """Build and load the libraries that the binding asks for."""
    source = folder / "stub.c"
    source.write_text("".join(f"void* {name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for name in LIBRARIES:
        target = folder / f"lib{name}.so.{major}"
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{target.name}", "-o", str(target), str(source)]
        subprocess.run(command, check=True)
        ctypes.CDLL(str(target), ctypes.RTLD_GLOBAL)


class Dimension:
    """An integer expression that is known."""

    def __init__(self, value: int) -> None:
        self.value = value

    def is_constant(self) -> bool:
        return True

    def get_constant_value(self) -> int:
        return self.value


class Expressions:
    """Evaluates expressions at once."""

    def constant(self, value: int) -> Dimension:
        return Dimension(value)

    def operation(self, operation: Any, first: Dimension, second: Dimension) -> Dimension:
        a, b = first.value, second.value
        results = {"SUM": a + b, "SUB": a - b, "PROD": a * b, "CEIL_DIV": -(-a // b) if b else None}
        return Dimension(results[operation.name])


def load(folder: Path) -> Any:
    """The module `tensorrt` of the real binding."""
    spec = find_spec("tensorrt_bindings")
    assert spec is not None
    assert spec.submodule_search_locations
    real = Path(spec.submodule_search_locations[0])
    version = next(line for line in (real / "__init__.py").read_text().splitlines() if line.startswith("__version__"))
    stub(folder, version.split('"')[1].split(".")[0])
    (folder / "package").mkdir()
    (folder / "package" / "tensorrt").symlink_to(real)
    sys.path.insert(0, str(folder / "package"))
    trt = importlib.import_module("tensorrt")
    trt.IDimensionExpr, trt.ISymExpr = Dimension, type("ISymExpr", (), {})
    trt.DimsExprs = lambda length: [None] * length
    registry = SimpleNamespace(creators=[])
    registry.register_creator = lambda creator, namespace: registry.creators.append(creator)
    registry.get_creator = lambda name, version, namespace: registry.creators[-1]
    trt.get_plugin_registry = lambda: registry
    return trt


def description(trt: Any, shape: tuple[int, ...], kind: Any, layout: Any) -> Any:
    """What TensorRT tells a plugin of a tensor."""
    told = trt.DynamicPluginTensorDesc()
    told.desc.dims, told.desc.type, told.desc.format, told.desc.scale = trt.Dims(shape), kind, layout, 1.0
    told.min = told.max = told.opt = trt.Dims(shape)
    return told


def plans(trt: Any, case: tuple[int, ...]) -> list[dict[str, Any]]:
    """What TensorRT gets to launch, for each combination of types and each tactic that the plugin offers."""
    batch, height, width, channels, features = case
    shapes = [
        *((batch, channels, height, width), (batch, 18, height, width), (batch, 18, height, width)),
        *((9, channels, features), (features,)),
    ]
    definition = importlib.import_module("tensorrt.plugin._lib").QDP_REGISTRY["fastlic::deform_conv2d"]
    plugins = importlib.import_module("tensorrt.plugin._plugin_class")
    found = []
    for kind in (trt.float16, trt.float32):
        made = plugins._TemplateAOTPlugin("deform_conv2d", "fastlic", definition.num_outputs)
        made.init(
            *(definition.register_func, {"masked": 0, "slope": 1065353216}, definition.aot_impl_attr_names),
            *(definition.aot_impl_func, definition.autotune_attr_names, definition.autotune_func),
        )
        assert made.get_output_data_types([kind] * 5, [len(shape) for shape in shapes]) == [kind]
        dimensions = [[Dimension(size) for size in shape] for shape in shapes]
        (output,) = made.get_output_shapes(dimensions, [], Expressions())
        shape = tuple(size.value for size in output)
        told = [description(trt, each, kind, trt.TensorFormat.LINEAR) for each in (*shapes, shape)]
        offered = made.get_supported_format_combinations(told, 5)
        for first in range(0, len(offered), 6):
            combination = offered[first : first + 6]
            if combination[0].type != kind:
                continue
            told = [
                description(trt, each, entry.type, entry.format)
                for each, entry in zip((*shapes, shape), combination, strict=True)
            ]
            made.configure_plugin(told[:5], told[5:])
            for tactic in sorted(made.get_valid_tactics()):
                made.set_tactic(tactic)
                formats = [entry.format.name for entry in combination]
                told_by = {"tactic": tactic, "output": shape, "formats": formats}
                found.append({**launch(made, dimensions, told), **told_by})
    return found


def launch(made: Any, dimensions: Any, told: Any) -> dict[str, Any]:
    """Geometry, arguments and kernel, as TensorRT asks for them."""
    geometry, arguments = SimpleNamespace(), {}
    setter = type("Setter", (), {"__setitem__": lambda self, index, value: arguments.__setitem__(index, value)})()
    made.get_launch_params(dimensions, told, 5, geometry, setter, Expressions())
    name, ptx = made.get_kernel([entry.desc for entry in told[:5]], [entry.desc for entry in told[5:]])
    return {
        "kernel": name,
        "ptx": ptx.decode(),
        "grid": [getattr(geometry, f"grid_{axis}").expr.value for axis in "xyz"],
        "block": [getattr(geometry, f"block_{axis}").expr.value for axis in "xyz"],
        "shared": geometry.shared_mem.expr.value,
        "scalars": [arguments[index].expr.value for index in range(setter.nbSymExprs)],
        "scalar_types": sorted({arguments[index].dtype.name for index in arguments}),
    }


def main(folder: Path) -> None:
    """Answer for one fresh folder."""
    trt = load(folder)
    sys.path.insert(0, str(Path(__file__).parent))
    usage = importlib.import_module("tensorrt_usage")
    trtp = importlib.import_module("tensorrt.plugin")
    plugin = importlib.import_module("fastlic.kernels.tensorrt.plugin")
    plugin.register(trt, trtp, lambda kernel: b"ptx of " + kernel.encode())
    used = {use for use in usage.uses() if use.name not in usage.RTX_ONLY}
    fields = [(field.name, field.type.name) for field in trt.get_plugin_registry().creators[0].field_names]
    print(
        json.dumps(
            {
                "version": trt.__version__,
                "used": sorted(map(str, used)),
                "problems": usage.problems(trt, used),
                "fields": fields,
                "plans": [{"case": case, "plans": plans(trt, case)} for case in CASES],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
