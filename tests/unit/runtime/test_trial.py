"""Trials of engines on the emulated driver: a good engine passes, and each way to be bad is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from emulation.cuda import EmulatedCuda
from fake_tensorrt import Context, Engine, FakeTensorRT
from small_models import pairs, run, unpaired

from fastlic.export.forms import probes
from fastlic.runtime import trial
from fastlic.runtime.conformance import Finding
from fastlic.runtime.engines.tensorrt import library
from fastlic.runtime.forms import Form

CHECKS = ["integers", "pixels", "memory", "capture"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRT]:
    monkeypatch.setattr(trial, "ROUNDS", 30)
    monkeypatch.setattr(trial, "LEAK", 16 << 10)
    with EmulatedCuda().installed() as cuda:
        made = FakeTensorRT(cuda)
        library.load.cache_clear()
        monkeypatch.setattr(library, "_import", lambda *_: made.module)
        yield made
        library.load.cache_clear()


def tried(name: str = "tensorrt", **options: Any) -> dict[str, str | None]:
    """First word of a check -> its problem."""
    chosen = options or ({"form": "standard"} if name == "tensorrt" else {})
    findings: list[Finding] = list(trial.try_engine(name, **chosen))
    return {finding.check.split()[0]: finding.problem for finding in findings}


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_good_engine_passes_every_check(fake: FakeTensorRT, name: str) -> None:
    assert tried(name) == dict.fromkeys(CHECKS)


def test_engine_that_does_not_start_is_told_by_its_reason() -> None:
    library.load.cache_clear()

    assert "TensorRT is not installed" in str(tried()["starts"])


def test_products_in_tf32_are_found(fake: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Engine.__init__

    def in_tf32(self: Engine, owner: FakeTensorRT, content: bytes) -> None:
        """Round the weights of `exact` to TF32's ten bits, as a tensor core would round the other factor."""
        original(self, owner, content)
        session = self.session
        if "q" in self.shapes:
            self.session = Rounding(session)  # type: ignore[assignment]

    class Rounding:
        def __init__(self, session: Any) -> None:
            self._session = session
            self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

        def run(self, names: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
            x = unpaired(feeds["x"], np.empty(feeds["x"].shape[:-1], np.int16))
            keep = np.where(np.abs(x) > 1023, x & ~1, x).astype(np.int16)  # ten bits after the first
            return self._session.run(names, {"x": pairs(np.ascontiguousarray(keep))})

    monkeypatch.setattr(Engine, "__init__", in_tf32)

    found = tried()

    assert "of the numbers are wrong" in str(found["integers"])
    assert found["pixels"] is None


def test_memory_that_is_lost_with_every_change_of_shape_is_found(
    fake: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Context.execute_async_v3

    def leaking(self: Context, stream: int) -> bool:
        fake.cuda.allocate(4096)
        return original(self, stream)

    monkeypatch.setattr(Context, "execute_async_v3", leaking)

    assert "MiB of device memory were lost" in str(tried()["memory"])


def test_work_that_escapes_the_capture_is_found(fake: FakeTensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Context.execute_async_v3

    def waiting(self: Context, stream: int) -> bool:
        fake.cuda.refuse_in_capture("cuStreamSynchronize")
        return original(self, stream)

    monkeypatch.setattr(Context, "execute_async_v3", waiting)

    found = tried()
    assert "capturing" in str(found["capture"]) or "capture" in str(found["capture"])
    assert found["pixels"] is None


def test_probes_of_the_package_are_what_is_drawn() -> None:
    kept = {path.name: path.read_bytes() for path in trial.folder().iterdir()}

    made = probes.files()
    assert kept.keys() == made.keys()
    assert [name for name, content in kept.items() if content != made[name]] == []


def test_sums_of_the_exact_probe_reach_just_below_the_bound() -> None:
    largest = 64 * 127 * probes.LIMIT

    assert 0.99 * 2**24 < largest < 2**24


@pytest.mark.parametrize("form", [Form("grid-sample", "f16", "tensorrt"), Form("standard", "f16", "tensorrt")])
def test_pixels_of_a_right_form_are_within_a_level(form: Form) -> None:
    inputs = trial._inputs("pixels", (16, 24))
    (expected,) = run((trial.folder() / "pixels.onnx").read_bytes(), x=inputs)

    (got,) = run((trial.folder() / trial.probe_file("pixels", form)).read_bytes(), x=pairs(inputs))

    assert np.abs(got.astype(int) - expected).max() <= 1
    assert len(np.unique(expected)) > 100  # or little would be compared
