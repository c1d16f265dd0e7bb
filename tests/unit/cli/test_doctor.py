from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import pytest

from fastlic.kernels import native
from fastlic.runtime import conformance, engines, trial
from fastlic.runtime.cli import app, doctor
from fastlic.runtime.conformance import Finding


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `fastlic doctor --json` without bundles; gives rows by item, what is said on stderr, and the exit code."""
    monkeypatch.setattr(conformance, "check_bundle", lambda *_, **__: iter(()))

    def run() -> tuple[dict[str, dict[str, Any]], str, int]:
        code = 0
        try:
            app.main(["doctor", "--threads", "1", "--json"])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        said = capsys.readouterr()
        return {row["item"]: row for row in map(json.loads, said.out.splitlines())}, said.err, code

    return run


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Let these distributions be installed besides those that are, or (None) not be."""
    real = metadata.version

    def version(name: str) -> str:
        if name.replace("-", "_") in versions:
            return versions[name.replace("-", "_")]
        return real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)


def test_machine_without_a_gpu_is_healthy(rows: Any) -> None:
    found, said, code = rows()

    assert code == 0
    assert said == ""
    assert found["engine ort-cpu"]["healthy"] is True
    assert found["engine tensorrt"]["healthy"] is None
    assert "pip install 'fastlic[tensorrt]'" in found["engine tensorrt"]["value"]


def test_both_distributions_of_onnxruntime_are_told(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, onnxruntime_gpu="1.31.1")

    found, _, code = rows()

    assert code == 1
    assert found["onnxruntime and onnxruntime-gpu"]["healthy"] is False


@pytest.mark.parametrize(("built", "healthy", "code"), [(True, None, 0), (False, False, 1)])
def test_missing_constriction_is_a_fault_only_without_the_native_reader(
    rows: Any, monkeypatch: pytest.MonkeyPatch, built: bool, healthy: bool | None, code: int
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "constriction":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    monkeypatch.setattr(native, "available", lambda: built)

    found, _, left = rows()

    assert (found["constriction"]["healthy"], left) == (healthy, code)


def test_engine_whose_trial_fails_must_not_be_used(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "report", lambda: [("ort-cpu", None), ("tensorrt", None)])

    def fails(name: str, **options: str) -> Any:
        problem = "12.0 MiB of device memory were lost" if options["form"] == "plugin" else None
        yield Finding("integers")
        yield Finding("memory over 200 changes of shape", problem)

    monkeypatch.setattr(trial, "try_engine", fails)

    found, said, code = rows()

    assert code == 1
    assert found["tensorrt plugin: memory over 200 changes of shape"]["healthy"] is False
    assert found["tensorrt standard: memory over 200 changes of shape"]["healthy"] is True
    assert said == (
        "fastlic: do not use the engine tensorrt on this machine: "
        "tensorrt plugin: memory over 200 changes of shape does not hold.\n"
    )


def test_engines_that_run_on_the_cpu_have_no_trial(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "try_engine", lambda *_, **__: pytest.fail("tried"))

    assert rows()[2] == 0
