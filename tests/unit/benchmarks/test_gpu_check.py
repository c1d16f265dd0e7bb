"""`make gpu-check` from end to end, over an emulated device; and what becomes of parts that fail, crash or hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from emulation.cuda import EmulatedCuda

from fastlic.benchmarks import gpu_check, gpu_peers, gpu_sections
from fastlic.benchmarks.gpu_check import check, chosen
from fastlic.benchmarks.gpu_sections import Part, Section, Settings, Skipped
from fastlic.benchmarks.sampling import Effort
from fastlic.errors import DeviceFailure, EngineUnavailable
from fastlic.kernels import build_cuda

TESTS = Path(__file__).parents[2]
ONCE = Effort(0, 0, 0, 2)
EMULATED = (sys.executable, "-m", "emulation.gpu_check")


@pytest.fixture
def cuda(emulation: object) -> Iterator[EmulatedCuda]:
    """An emulated device."""
    with EmulatedCuda().installed() as emulated:
        yield emulated


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts find the emulated device, and a compute-sanitizer that only runs what it is given."""
    tool = tmp_path / "bin" / "compute-sanitizer"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift 2; done\nexec "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def test_machine_without_a_gpu_gets_one_line_with_the_reason(tmp_path: Path) -> None:
    command = [*gpu_check.COMMAND, "--folder", str(tmp_path)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    if "skipped  gpu" not in done.stdout:
        pytest.skip("there is a GPU here")
    assert done.returncode == 0, done.stderr
    (part,) = json.loads((tmp_path / "gpu-check.json").read_text())["parts"]
    assert (part["name"], part["outcome"]) == ("gpu", "skipped")
    assert "pycuda" in part["detail"] or "GPU" in part["detail"]


def test_everything_runs_through_although_parts_crash_and_hang(
    emulation: object, environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMULATED_CRASH", "racecheck")
    monkeypatch.setenv("EMULATED_HANG", "synccheck")
    wanted = ["build", "kernel-tests", "kernels", "decode-torch-f16", "symbols", "memcheck", "racecheck", "synccheck"]
    sections = [
        Section(one.name, 3 if one.name == "synccheck" else one.limit, one.run)
        for one in gpu_sections.SECTIONS
        if one.name in ("gpu", *wanted)
    ]
    settings = Settings(tmp_path, effort=ONCE, select="shape0-16 or (tiny-pixel and torch and not without)")

    check(sections, settings, lambda line: None, command=EMULATED)

    written = json.loads((tmp_path / "gpu-check.json").read_text())["parts"]
    parts = {part["name"]: part for part in written}
    failed = {name: part["detail"] for name, part in parts.items() if part["outcome"] != "ok"}
    assert failed == {
        "racecheck": "its process ended with -11",
        "synccheck": "stopped after 3 s",
    }
    assert parts["memcheck"]["figures"]["counts"] == parts["kernel-tests"]["figures"]["counts"] == {"passed": 1}
    assert parts["symbols"]["figures"]["counts"] == {"passed": 2}
    kernels = {row["kernel"] for row in parts["kernels"]["figures"]["rows"]}
    assert kernels >= {"deform_conv2d", "gdn", "mixture_rows", "mixture_rows to the host", "context_gather"}
    text = (tmp_path / "gpu-check.md").read_text()
    for line in ("| hyper |", "| rows y even |", "| hand-over y even |", "| code y odd |", "| deform_conv2d |"):
        assert line in text


def test_parts_that_cannot_run_are_told_from_those_that_fail(tmp_path: Path) -> None:
    def raising(error: Exception) -> Part:
        def action(settings: Settings, keep: object) -> Part:
            raise error

        return gpu_check.run_here(Section("one", 1, action), Settings(tmp_path))

    assert raising(Skipped("no tool")).outcome == "skipped"
    assert raising(EngineUnavailable("no driver")).outcome == "skipped"
    assert raising(DeviceFailure("launch failed")).detail == "DeviceFailure: launch failed"
    assert raising(KeyError("figures")).outcome == "failed"


def test_part_that_is_stopped_keeps_what_it_had(tmp_path: Path) -> None:
    kept = json.dumps({"name": "kernels", "outcome": "unfinished", "figures": {"rows": [1, 2]}})
    command = ["sh", "-c", 'echo "$2" > "$1"; exec sleep 60', "sh", str(tmp_path / "kernels.json"), kept]

    part = gpu_check.run(Section("kernels", 2, gpu_sections.time_kernels), Settings(tmp_path), command)

    assert (part.outcome, part.detail) == ("failed", "stopped after 2 s")
    assert part.figures == {"rows": [1, 2]}


def test_later_call_adds_to_what_an_earlier_one_found(tmp_path: Path) -> None:
    look, build, tests = gpu_sections.SECTIONS[:3]
    with mock.patch.object(gpu_check, "run", lambda section, *_: Part(section.name, detail="first")):
        check([look, build], Settings(tmp_path), lambda line: None)
    with mock.patch.object(gpu_check, "run", lambda section, *_: Part(section.name, detail="second")):
        parts = check([look, tests], Settings(tmp_path), lambda line: None)

    assert {part.name: part.detail for part in parts} == {"build": "first", "gpu": "second", "kernel-tests": "second"}


def test_parts_for_which_no_time_is_left_are_named(tmp_path: Path) -> None:
    with mock.patch.object(gpu_check, "run", lambda section, *_: Part(section.name)):
        parts = check(gpu_sections.SECTIONS[:2], Settings(tmp_path), lambda line: None, seconds=0)

    assert parts[0].detail == "no time was left: run again with --only gpu"


def test_parts_are_chosen_by_the_beginnings_of_their_names() -> None:
    assert [one.name for one in chosen(["decode-torch", "memcheck"])] == [
        "gpu", "decode-torch-f16", "decode-torch", "memcheck",
    ]  # fmt: skip
    assert chosen([]) == list(gpu_sections.SECTIONS)
    with pytest.raises(ValueError, match="there is no part roofline; there are gpu, build"):
        chosen(["roofline"])


@pytest.mark.parametrize(("capability", "architecture"), [((7, 5), 75), ((8, 7), 86), ((9, 0), 90), ((12, 1), 120)])
def test_kernels_are_built_for_the_newest_architecture_that_runs(
    capability: tuple[int, int], architecture: int
) -> None:
    assert gpu_sections.architecture_for(capability) == architecture


def test_build_without_nvcc_is_fine_where_kernels_are_installed(cuda: EmulatedCuda, tmp_path: Path) -> None:
    with mock.patch.object(build_cuda, "find_nvcc", side_effect=EngineUnavailable("nvcc is not on the path")):
        part = gpu_sections.build_kernels(Settings(tmp_path), lambda part: None)

    assert part.detail == "installed kernels are used: nvcc is not on the path"


def test_preparation_that_fails_is_skipped_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="abacus"):
        gpu_sections.prepare("abacus", Settings(tmp_path), lambda part: None)


def test_tests_of_which_none_ran_are_not_called_passed(tmp_path: Path) -> None:
    nothing = Settings(tmp_path, select="product and not product")

    with pytest.raises(Skipped, match="no test is called product and not product"):
        gpu_sections.kernel_tests(nothing, lambda part: None)


def test_peer_that_is_not_installed_is_named_with_the_reason() -> None:
    with mock.patch.object(gpu_peers, "_torchvision", side_effect=ModuleNotFoundError("No module named 'torchvision'")):
        found, absent = gpu_peers.measure_peers([(8, 8, 8)], ONCE)

    assert found == {}
    assert absent["torchvision float32"] == "No module named 'torchvision'"
