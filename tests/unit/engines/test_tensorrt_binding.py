"""What fastlic calls of TensorRT exists in NVIDIA's own bindings, and TensorRT's own code accepts our plugin.

TensorRT's libraries cannot be had everywhere, its Python binding can: `pip install --no-deps tensorrt-cu13-bindings`.
It is imported in a process of its own over a stub of the libraries; see tests/tensorrt_binding.py.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorrt_usage

from fastlic.kernels.cuda import launch
from fastlic.kernels.tensorrt import plugin

TESTS = Path(__file__).parents[2]
MANY = 1 << 20  # multiprocessors, more than there are tiles


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the real binding says."""
    if find_spec("tensorrt_bindings") is None:
        pytest.skip("no TensorRT binding: pip install --no-deps tensorrt-cu13-bindings")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to build a stub of TensorRT's libraries with")
    command = [sys.executable, str(TESTS / "tensorrt_binding.py"), str(tmp_path_factory.mktemp("binding"))]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_name_and_number_of_arguments_that_we_use_is_tensorrts(answer: dict[str, Any]) -> None:
    assert answer["problems"] == []
    assert len(answer["used"]) > 50


def test_uses_are_really_found_in_the_sources() -> None:
    used = set(map(str, tensorrt_usage.uses()))

    assert {"BuilderFlag.TF32", "IExecutionContext.execute_async_v3(1)", "plugin.cdiv(2)"} <= used


def test_a_name_or_a_number_of_arguments_that_a_binding_lacks_is_reported() -> None:
    known = SimpleNamespace(__doc__="known(self: X, a: int, b: list[int, str] = 3) -> bool")
    used = {tensorrt_usage.Use(*use) for use in (("known", 1), ("known", 2), ("known", 3), ("absent", None))}

    assert tensorrt_usage.problems(SimpleNamespace(known=known), used) == [
        "there is no absent",
        "known takes [1, 2] arguments, not 3",
    ]


def test_every_name_that_we_use_is_in_tensorrt_for_rtx() -> None:
    rtx = pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT for RTX: see `make tensorrt-check`")
    used = {use for use in tensorrt_usage.uses() if not tensorrt_usage.TENSORRT_ONLY.match(use.name)}

    assert tensorrt_usage.problems(rtx, used) == []


def test_tensorrt_reads_the_attributes_of_our_plugin_as_integers(answer: dict[str, Any]) -> None:
    assert answer["fields"] == [["masked", "INT64"], ["slope", "INT64"]]


def expected(case: list[int], *, half: bool, tactic: int) -> launch.Launch:
    multiprocessors = MANY if tactic == plugin.SMALL else 1
    return launch.deform_conv2d(*case, precision="f16" if half else "f32", multiprocessors=multiprocessors)


def test_tensorrt_launches_our_plugin_as_we_launch_the_kernel(answer: dict[str, Any]) -> None:
    seen = set()
    for found in answer["plans"]:
        for plan in found["plans"]:
            half = plan["formats"][0] == "HWC8"
            wanted = expected(found["case"], half=half, tactic=plan["tactic"])
            assert (plan["kernel"], *plan["grid"]) == (wanted.kernel, *wanted.grid)
            assert plan["block"] == [wanted.threads, 1, 1]
            assert plan["shared"] == 0  # all of the kernels' shared memory is static
            assert plan["ptx"] == f"ptx of {wanted.kernel}"
            seen.add((half, plan["tactic"]))

    assert seen == {(True, plugin.WHOLE), (True, plugin.SMALL), (False, plugin.WHOLE)}


def test_tensorrt_hands_the_kernel_its_scalars_in_their_order(answer: dict[str, Any]) -> None:
    for found in answer["plans"]:
        _, height, width, channels, features = found["case"]
        for plan in found["plans"]:
            stride = 24 if plan["formats"][1] == "HWC8" else 18  # 18 offsets, padded to whole vectors of 8
            assert plan["scalars"] == [height, width, channels, features, stride, 0, plugin.slope_bits(1.0)]
            assert plan["scalar_types"] == ["INT32"]
            assert plan["output"] == [found["case"][0], features, height, width]


def test_tensorrts_own_module_is_not_ours() -> None:
    """Our package has a module of that name: an absolute import must not find it."""
    assert importlib.import_module("fastlic.runtime.engines.tensorrt").__name__ != "tensorrt"
    assert "tensorrt" not in sys.modules
