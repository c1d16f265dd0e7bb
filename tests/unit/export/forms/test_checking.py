from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_student
from onnx import helper
from small_models import model_of

from fastlic.errors import VerificationFailed
from fastlic.export.forms import checking
from fastlic.export.forms.checking import Sample
from fastlic.export.forms.making import make
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.forms import Form


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    path = tmp_path / "tiny.licb"
    path.write_bytes(tiny_student.bundle_bytes())
    return Bundle(path)


def scaled(factor: float, kind: type) -> bytes:
    """A model that multiplies by a factor, and casts."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=helper.np_dtype_to_tensor_dtype(np.dtype(kind))),
    ]
    return model_of(nodes, {"x": (np.float32, (3,))}, {"y": (kind, (3,))}, factor=np.float32(factor))


def test_vectors_of_a_bundle_reach_every_graph_of_a_decode(bundle: Bundle) -> None:
    found = checking.samples(bundle, 1)

    assert set(found) == {"hyper", "context", "synthesis"}
    assert all(sample.outputs for kinds in found.values() for sample in kinds)


@pytest.mark.parametrize("form", [Form(types="tensorrt"), Form("grid-sample", "f16", "tensorrt")])
def test_a_right_form_passes(bundle: Bundle, form: Form) -> None:
    for name, given in checking.samples(bundle, 1).items():
        spec = bundle.manifest.graphs[name]
        if spec.exact and form.precision == "f16":
            continue
        checking.check(name, make(bundle.member(spec.file), form), form, spec.exact, given)


def test_exact_form_that_is_off_by_one_is_refused() -> None:
    sample = Sample([np.array([1, 2, 3], np.float32)], [np.array([2, 4, 7], np.int16)])

    with pytest.raises(VerificationFailed, match="graph g: its form onnx-standard-f32 does not give the same integers"):
        checking.check("g", scaled(2, np.int16), Form(), True, [sample])


@pytest.mark.parametrize(("last", "refused"), [(7, False), (8, True)])
def test_pixels_may_differ_by_one_level_and_no_more(last: int, refused: bool) -> None:
    sample = Sample([np.array([1, 2, 3], np.float32)], [np.array([2, 4, last], np.uint8)])

    if refused:
        with pytest.raises(VerificationFailed, match="differs by 2, more than one level"):
            checking.check("g", scaled(2, np.uint8), Form(), False, [sample])
    else:
        checking.check("g", scaled(2, np.uint8), Form(), False, [sample])
