from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastlic.errors import EngineUnavailable
from fastlic.runtime import engines


def test_create_auto_takes_ort_cpu_and_says_so():
    engine = engines.create()

    assert engine.info().name == "ort-cpu"


def test_create_auto_without_onnxruntime_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(EngineUnavailable, match=r"no engine can run here. ort-cpu: .*pip install"):
        engines.create()


def test_create_takes_options_in_words() -> None:
    engine = engines.create("ort-cpu:optimisation=basic,operators=onnxruntime", 1)

    assert engine.info().detail == {"optimisation": "basic", "operators": "onnxruntime"}


@pytest.mark.parametrize("words", ["optimisation=most", "colour=red", "optimisation", ""])
def test_create_refuses_words_that_are_no_option(words: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"engine ort-cpu:{words}: "):
        engines.create(f"ort-cpu:{words}", 1)


def test_create_unknown_name_lists_the_engines():
    with pytest.raises(EngineUnavailable, match=r"no engine 'abacus'\. Known: auto, ort-cpu, .*torch"):
        engines.create("abacus")


def test_create_without_threads_uses_the_cores_allowed():
    assert engines.create("ort-cpu").info().threads == engines.usable_cores()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no processor affinity")
def test_usable_cores_restricted_process_counts_its_own_only():
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from fastlic.runtime.engines import usable_cores; print(usable_cores())"
    )

    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "1"


@pytest.mark.parametrize("threads", [0, -1])
def test_create_without_a_thread_raises(threads):
    with pytest.raises(ValueError, match="at least 1"):
        engines.create("ort-cpu", threads=threads)


def test_create_auto_with_options_raises():
    with pytest.raises(TypeError, match="name it instead of auto"):
        engines.create("auto", optimisation="none")


def test_report_missing_library_gives_reason_for_that_engine_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    reasons = dict(engines.report())

    assert set(reasons) == set(engines.names())
    assert reasons["ort-cpu"] is None
    assert "fastlic[export]" in str(reasons["torch"])


@pytest.mark.parametrize("device", ["cpu", "cuda:", "cuda:x", "1.0", -1, "cuda 1"])
def test_create_device_that_is_no_gpu_is_refused(device):
    with pytest.raises(ValueError, match=r"number of a GPU or such as 'cuda:1'"):
        engines.create("ort-cuda", device=device)


def test_create_cpu_engine_with_a_device_is_refused():
    with pytest.raises(ValueError, match="ort-cpu runs on the CPU"):
        engines.create("ort-cpu", threads=1, device="cuda")


def test_create_auto_with_a_device_asks_for_an_engine():
    with pytest.raises(TypeError, match=r"\['device'\] belong to one engine"):
        engines.create("auto", device=0)


def test_create_with_a_device_in_words_takes_it():
    with pytest.raises(EngineUnavailable, match=r"ort-cpu:device=cuda:1: the engine ort-cpu runs on the CPU"):
        engines.create("ort-cpu:device=cuda:1", threads=1)
