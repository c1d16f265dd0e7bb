"""Students in the forms of every engine that asks for some: made, and checked against their graphs.

`make tensorrt-check` does this with every student that we have; `make test` with two small ones.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_models import deformable_student

from fastlic.errors import EngineUnavailable, PinMismatch, VerificationFailed
from fastlic.export import preparation
from fastlic.export.forms import checking
from fastlic.runtime import bundle as bundles
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.forms import Deform, FormCache
from fastlic.runtime.manifest import Run

GOLDEN = Path(__file__).parents[2] / "conformance" / "golden"
PINNED = "bgvae-small"
ALL = os.environ.get("FASTLIC_TENSORRT_CHECK") == "1"
BUNDLES = (
    [deformable_student()[0], *bundles.shipped(), *sorted(p for p in GOLDEN.glob("*.licb") if p.stem != PINNED)]
    if ALL
    else [GOLDEN / name for name in ("tiny.licb", "mbt2018-mean-small.licb")]
)
WAYS: list[tuple[str, Deform, tuple[int, int]]] = [
    ("tensorrt", "plugin", (8, 9)),
    ("tensorrt-rtx", "grid-sample", (8, 9)),
    ("tensorrt-rtx", "grid-sample", (7, 5)),
]


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_forms_of_a_student_compute_what_its_graphs_do(path: Path, tmp_path: Path) -> None:
    with Bundle(path) as bundle:
        decoded = {step.graph for step in bundle.manifest.schedule if isinstance(step, Run)}
        for number, (engine, deform, capability) in enumerate(WAYS):
            chooser = preparation.form_chooser(engine, deform, "f16", capability)
            cache = FormCache(tmp_path / str(number))

            made = list(preparation.prepare_forms(bundle, chooser, cache, threads=1))

            assert {report.graph for report in made} == decoded


def test_form_that_fails_its_check_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise VerificationFailed("no")

    monkeypatch.setattr(checking, "check", fail)
    cache = FormCache(tmp_path)
    with Bundle(GOLDEN / "tiny.licb") as bundle:
        chooser = preparation.form_chooser("tensorrt", None, "f16", (8, 9))

        with pytest.raises(VerificationFailed):
            list(preparation.prepare_forms(bundle, chooser, cache, threads=1))
        assert list(tmp_path.rglob("*.onnx")) == []


def test_forms_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    cache = FormCache(tmp_path)
    chooser = preparation.form_chooser("tensorrt", None, "f16", (8, 9))
    with Bundle(GOLDEN / "tiny.licb") as bundle:
        assert len(list(preparation.prepare_forms(bundle, chooser, cache, threads=1))) == 3
        assert list(preparation.prepare_forms(bundle, chooser, cache, threads=1)) == []


@pytest.mark.parametrize(("name", "refused"), [(f"{PINNED}.licb", True), ("mbt2018-mean-small.licb", False)])
def test_student_that_is_pinned_to_another_engine_is_refused(name: str, refused: bool) -> None:
    with Bundle(GOLDEN / name) as bundle:
        if refused:
            with pytest.raises(PinMismatch, match=r"equal only on ort-cpu .* cannot be decoded with tensorrt"):
                preparation.refuse_pinned(bundle, "tensorrt")
        else:
            preparation.refuse_pinned(bundle, "tensorrt")


def test_engine_that_takes_bundles_as_they_are_has_no_forms() -> None:
    with pytest.raises(EngineUnavailable, match="torch takes bundles as they are"):
        preparation.form_chooser("torch", None, "f16", (8, 9))
