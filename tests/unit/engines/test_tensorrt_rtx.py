"""The parser and the ahead-of-time builder of TensorRT for RTX, which need no GPU, take every student that we have.

`make tensorrt-check` installs the library and builds for all the GPUs; with the library at hand, `make test` builds for
one. Without it everything here is skipped.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from small_models import deformable_student

from fastlic.errors import BundleError, EngineUnavailable
from fastlic.export.forms.making import make
from fastlic.kernels.cuda.arrays import ArraySpec
from fastlic.runtime import bundle as bundles
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines.tensorrt import building, library
from fastlic.runtime.engines.tensorrt.engine import form_for
from fastlic.runtime.engines.tensorrt.execution import form_shape
from fastlic.runtime.forms import Deform, Form, Precision
from fastlic.runtime.shapes import inputs_of_a_decode
from fastlic.runtime.student import Student

pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT for RTX: see `make tensorrt-check`")

GOLDEN = Path(__file__).parents[2] / "conformance" / "golden"
# The tiny student's graphs, drawn by hand, leave even their channels open, which TensorRT does not take; BG-VAE's are
# pinned to another engine.
LEFT_OUT = ("tiny", "bgvae-small")
BUNDLES = [
    deformable_student()[0],
    *bundles.shipped(),
    *sorted(path for path in GOLDEN.glob("*.licb") if path.stem not in LEFT_OUT),
]
ALL = os.environ.get("FASTLIC_TENSORRT_CHECK") == "1"
CAPABILITIES = [(7, 5), (8, 6), (8, 9), (12, 0)] if ALL else [(8, 9)]


@pytest.fixture(scope="module")
def rtx() -> library.Library:
    library.load.cache_clear()
    return library.load("tensorrt-rtx")


def request_for(
    bundle: Bundle, name: str, size: tuple[int, int], form: Form, capability: tuple[int, int] = (8, 9)
) -> building.Request:
    given = inputs_of_a_decode(Student(bundle, engines.create("ort-cpu", 1)), *size)[name][0]
    shapes = tuple(form_shape(ArraySpec(*each)) for each in given)
    return building.Request(
        name, make(bundle.member(bundle.manifest.graphs[name].file), form), form, shapes, capability
    )


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda pair: f"sm_{pair[0]}{pair[1]}")
@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_every_graph_of_a_decode_is_parsed_and_built(
    rtx: library.Library, path: Path, capability: tuple[int, int]
) -> None:
    with Bundle(path) as bundle:
        given = inputs_of_a_decode(Student(bundle, engines.create("ort-cpu", 1)), 768, 512)
        for name, kinds in given.items():
            spec = bundle.manifest.graphs[name]
            form = form_for("tensorrt-rtx", "grid-sample", "f32" if spec.exact else "f16", capability)
            shapes = tuple(form_shape(ArraySpec(*each)) for each in kinds[0])
            request = building.Request(name, make(bundle.member(spec.file), form), form, shapes, capability)

            built = building.build(rtx, request)

            assert len(built.engine) > 10_000, name


def test_int16_reaches_the_builder_as_pairs_of_bytes(rtx: library.Library) -> None:
    with bundles.default() as bundle:
        request = request_for(bundle, "hyper", (64, 64), Form("grid-sample", "f32", "tensorrt"))

    assert request.shapes == ((64, 1, 1, 2),)
    assert building.build(rtx, request).timing_cache is None


@pytest.mark.parametrize(("form", "precision"), [("f16", "f32"), ("f32", "f16")])
def test_network_of_another_precision_than_its_form_says_is_refused(
    rtx: library.Library, form: Precision, precision: Precision
) -> None:
    with bundles.default() as bundle:
        request = request_for(bundle, "synthesis", (64, 64), Form("grid-sample", precision, "tensorrt"))
    told = dataclasses.replace(request, form=Form("grid-sample", form, "tensorrt"))

    with pytest.raises(BundleError, match=f"its form is {form}, and (some|no) layers of it compute in half precision"):
        building.build(rtx, told)


def test_graph_of_the_bundle_itself_is_refused_with_what_the_parser_says(rtx: library.Library) -> None:
    with bundles.default() as bundle:
        model = bundle.member(bundle.manifest.graphs["synthesis"].file)
    request = building.Request("synthesis", model, Form("grid-sample"), ((128, 4, 4, 2),), (8, 9))

    with pytest.raises(BundleError, match="synthesis: TensorRT for RTX cannot parse it"):
        building.build(rtx, request)


@pytest.mark.parametrize("form", ["standard", "plugin", "library"])
def test_form_with_a_plugin_is_refused_with_the_form_to_use(rtx: library.Library, form: Deform) -> None:
    with pytest.raises(EngineUnavailable, match="has no plugins: build with --form grid-sample"):
        building.build(rtx, building.Request("g", b"", Form(form), (), (8, 9)))


def test_gpu_that_the_library_does_not_know_is_refused(rtx: library.Library) -> None:
    with bundles.default() as bundle:
        request = request_for(bundle, "hyper", (64, 64), Form("grid-sample", "f32", "tensorrt"), (9, 0))

    with pytest.raises(EngineUnavailable, match=r"does not know compute capability 9\.0, only SM75, .*SM120"):
        building.build(rtx, request)


def test_turing_has_no_matrix_product_which_is_why_its_form_has_convolutions(rtx: library.Library) -> None:
    with bundles.default() as bundle:
        request = request_for(bundle, "hyper", (64, 64), Form("grid-sample", "f32", "tensorrt"), (7, 5))

    with pytest.raises(BundleError, match="FP32 GEMM is not supported"):
        building.build(rtx, request)


def test_wrong_shape_is_refused_before_anything_is_built(rtx: library.Library) -> None:
    with bundles.default() as bundle:
        request = request_for(bundle, "hyper", (64, 64), Form("grid-sample", "f32", "tensorrt"))
    wrong = dataclasses.replace(request, shapes=((63, 1, 1, 2),))

    with pytest.raises(BundleError, match=r"input z is \(64, -1, -1, 2\), not \(63, 1, 1, 2\)"):
        building.build(rtx, wrong)


def test_engine_is_unavailable_without_a_driver_and_says_so() -> None:
    with pytest.raises(EngineUnavailable, match=r"pycuda|driver"):
        engines.create("tensorrt-rtx", 1)


def test_library_has_the_types_that_bundles_need(rtx: library.Library) -> None:
    assert rtx.trt.nptype(rtx.trt.DataType.UINT8) == np.uint8
