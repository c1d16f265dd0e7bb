"""`make gpu-check`: that its parts run, over an emulated device, and what it says where they cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import tiny_student
from emulation.cuda import EmulatedCuda
from emulation.engine import EmulatedEngine
from rich.console import Console

import fastlic
from fastlic.benchmarks import gpu_check, gpu_peers
from fastlic.benchmarks.gpu_check import Part
from fastlic.benchmarks.sampling import Effort
from fastlic.errors import DeviceFailure, EngineUnavailable
from fastlic.kernels import build_cuda
from fastlic.runtime import engines

ONCE = Effort(0, 0, 0, 2)


@pytest.fixture
def cuda(emulation: object) -> Iterator[EmulatedCuda]:
    """An emulated device."""
    with EmulatedCuda().installed() as emulated:
        yield emulated


def test_machine_without_a_gpu_gets_one_line_with_the_reason() -> None:
    with EmulatedCuda(devices=0).installed():
        (part,) = gpu_check.check(None, ONCE, lambda _: None)

    assert (part.outcome, part.name) == ("skipped", "GPU")
    assert "no NVIDIA GPU is visible" in part.detail


def test_command_without_a_gpu_succeeds_and_writes_why(tmp_path: Path) -> None:
    target = tmp_path / "check.json"
    command = [sys.executable, "-m", "fastlic.benchmarks.gpu_check", "--json", str(target)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    if "skipped" not in done.stdout:
        pytest.skip("there is a GPU here")
    assert done.returncode == 0, done.stderr
    assert json.loads(target.read_text())["parts"][0]["outcome"] == "skipped"


def test_every_part_is_attempted_and_failures_do_not_stop_the_next(cuda: EmulatedCuda) -> None:
    parts = {
        "build_kernels": Part("build"),
        "prepare": Part("prepare"),
        "run_tests": Part("tests", "failed", "3 failed"),
        "sanitize": gpu_check.Skipped("compute-sanitizer is not on the path"),
        "time_kernels": DeviceFailure("launch failed"),
        "time_decoding": EngineUnavailable("no onnxruntime-gpu"),
    }
    with mock.patch.multiple(gpu_check, **{name: mock.Mock(side_effect=[part] * 9) for name, part in parts.items()}):
        outcomes = [(part.name, part.outcome) for part in gpu_check.check(None, ONCE, lambda _: None)]

    assert outcomes[:8] == [
        ("GPU", "ok"),
        ("build", "ok"),
        ("prepare", "ok"),
        ("prepare", "ok"),
        ("tests", "failed"),
        ("tests under memcheck", "skipped"),
        ("tests under racecheck", "skipped"),
        ("kernels", "failed"),
    ]
    assert set(outcomes[8:]) == {(f"decode, {label}", "skipped") for label in gpu_check.ENGINES}


@pytest.mark.parametrize(("capability", "architecture"), [((7, 5), 75), ((8, 7), 86), ((9, 0), 90), ((12, 1), 120)])
def test_kernels_are_built_for_the_newest_architecture_that_runs(
    capability: tuple[int, int], architecture: int
) -> None:
    assert gpu_check.architecture_for(capability) == architecture


def test_build_without_nvcc_is_fine_where_kernels_are_installed(cuda: EmulatedCuda, tmp_path: Path) -> None:
    device = gpu_check.open_device(0)
    with mock.patch.object(build_cuda, "find_nvcc", side_effect=EngineUnavailable("nvcc is not on the path")):
        part = gpu_check.build_kernels(device, tmp_path)

    assert part.detail == "installed kernels are used: nvcc is not on the path"


def test_preparation_that_fails_is_skipped_with_what_it_said() -> None:
    with pytest.raises(gpu_check.Skipped, match="abacus"):
        gpu_check.prepare("abacus")


def test_tests_are_run_in_a_process_and_their_last_line_is_kept() -> None:
    part = gpu_check.run_tests(None, only="product and not product")

    assert part.name == "tests"
    assert "deselected" in part.detail


def test_kernels_are_timed_beside_the_limits_and_absent_peers_are_named(cuda: EmulatedCuda) -> None:
    small = partial(gpu_check.measure_gpu_kernels, copied=1 << 16)
    with mock.patch.object(gpu_check, "measure_gpu_kernels", small):
        part = gpu_check.time_kernels(ONCE, [(8, 8, 8)])

    assert {row["kernel"] for row in part.figures["rows"]} >= {"deform_conv2d", "gdn"}
    assert "onnxruntime float16: this onnxruntime was built for the CPU" in part.detail


def test_decode_is_timed_whole_and_by_stage(cuda: EmulatedCuda) -> None:
    bundle = tiny_student.bundle_bytes()
    encoder, decoder = fastlic.Encoder, fastlic.Decoder
    with (
        mock.patch.object(fastlic, "Encoder", lambda **given: encoder(bundle, **given)),
        mock.patch.object(fastlic, "Decoder", lambda **given: decoder(bundle, **given)),
        mock.patch.object(engines, "create", side_effect=_emulated(cuda)),
    ):
        part = gpu_check.time_decoding("torch", ONCE, [("small", tiny_student.picture(64, 64))])

    (row,) = part.figures["rows"]
    assert row["whole"].count == 2
    assert {"hyper", "rows y even", "code y even", "synthesis", "copy"} <= row["stages"].keys()
    console = Console(record=True, width=200)
    gpu_check.show([part], console)
    assert "rows y even" in console.export_text()


def test_peer_that_is_not_installed_is_named_with_the_reason() -> None:
    with mock.patch.object(gpu_peers, "_torchvision", side_effect=ModuleNotFoundError("No module named 'torchvision'")):
        found, absent = gpu_peers.measure_peers([(8, 8, 8)], ONCE)

    assert found == {}
    assert absent["torchvision float32"] == "No module named 'torchvision'"


def _emulated(cuda: EmulatedCuda):
    real = engines.create
    return lambda name="auto", *args, **given: EmulatedEngine(cuda) if name == "torch" else real(name, *args, **given)
