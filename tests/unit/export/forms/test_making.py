"""Every form of every graph of a deformable student and of the tiny one, against the graph as the bundle has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_student
from small_models import GOLDEN, deformable_student, evaluate, pairs, run, unpaired

import fastlic
from fastlic.errors import BundleError
from fastlic.export.forms.making import make
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines.ort import OrtCpuEngine
from fastlic.runtime.forms import Deform, Form

STUDENTS = ["deformable", "tiny"]
DEFORMS: tuple[Deform, ...] = ("standard", "grid-sample")


@pytest.fixture(scope="module")
def students() -> dict[str, Bundle]:
    return {"deformable": Bundle(deformable_student()[0]), "tiny": Bundle(tiny_student.bundle_bytes())}


@pytest.fixture(scope="module")
def latents() -> np.ndarray:
    """The latent of a real file: what the student's synthesis really gets."""
    bundle, path = deformable_student()
    with fastlic.Decoder(bundle, threads=1) as decoder:
        return decoder.decode_latents(path.read_bytes())[0]["y"]


def graph(bundle: Bundle, name: str) -> bytes:
    return bundle.member(bundle.manifest.graphs[name].file)


class Recorder(OrtCpuEngine):
    """Keeps what each graph is given, by name: model, inputs, outputs."""

    def __init__(self) -> None:
        super().__init__(1)
        self.seen: dict[str, tuple[bytes, list[np.ndarray], list[np.ndarray]]] = {}

    def load(self, model: bytes, name: str, exact: bool) -> Any:
        run_graph = super().load(model, name, exact)

        def call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            outputs = run_graph(inputs)
            self.seen[name] = model, [array.copy() for array in inputs], outputs
            return outputs

        return call


def given(model: bytes, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs by name, as the form for TensorRT takes them."""
    names = [port.name for port in onnx.load_from_string(model).graph.input]
    return dict(zip(names, map(pairs, inputs), strict=True))


@pytest.mark.parametrize("student", STUDENTS)
def test_exact_graphs_give_the_same_bits_in_the_form_for_tensorrt(student: str) -> None:
    bundle, path = deformable_student()
    if student == "tiny":
        path = GOLDEN / "tiny-square.lic"
    engine = Recorder()
    source = bundle if student == "deformable" else tiny_student.bundle_bytes()
    with fastlic.Decoder(source, engine=engine, threads=1) as decoder:
        decoder.decode_latents(path.read_bytes())

    assert set(engine.seen) == {"hyper", "context"}
    for model, inputs, expected in engine.seen.values():
        for form in (Form(types="tensorrt"), Form("grid-sample", types="tensorrt", products="convolution")):
            got = run(make(model, form), **given(model, inputs))
            for have, want in zip(got, expected, strict=True):
                np.testing.assert_array_equal(unpaired(have, want), want)


@pytest.mark.parametrize("name", ["hyper", "context"])
def test_exact_graph_gives_the_same_bits_for_whatever_fits_its_ports(
    rng: np.random.Generator, students: dict[str, Bundle], name: str
) -> None:
    model = graph(students["deformable"], name)
    any_short = {"z": (64, 2, 4), "y": (128, 8, 16)}["z" if name == "hyper" else "y"]
    inputs = [rng.integers(-(1 << 15), 1 << 15, any_short).astype(np.int16)]
    if name == "context":
        inputs.insert(0, rng.integers(-100000, 100000, (4, 2, 8, 320)).astype(np.float32))
    made = make(model, Form(types="tensorrt"))

    expected = run(model, **dict(zip(given(model, inputs), inputs, strict=True)))
    got = run(made, **given(model, inputs))

    for have, want in zip(got, expected, strict=True):
        np.testing.assert_array_equal(unpaired(have, want), want)


@pytest.mark.parametrize("deform", DEFORMS)
@pytest.mark.parametrize("precision", ["f32", "f16"])
@pytest.mark.parametrize("types", ["onnx", "tensorrt"])
def test_synthesis_of_a_trained_student_stays_within_a_level(
    students: dict[str, Bundle], latents: np.ndarray, deform: Deform, precision: str, types: str
) -> None:
    model = graph(students["deformable"], "synthesis")
    form = Form(deform, precision, types)  # type: ignore[arg-type]

    (expected,) = run(model, y=latents)
    (got,) = run(make(model, form), y=pairs(latents) if types == "tensorrt" else latents)

    difference = np.abs(got.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    # A level changes where a value lies within the error of a half. In half precision values above 128 are an eighth
    # apart, so a rounding moves them by at most 1/16; in float32 next to nothing does.
    assert difference.mean() <= (1 / 16 if precision == "f16" else 1e-3)


def test_synthesis_with_our_plugin_is_the_bundles_when_the_kernels_twin_computes_it(
    students: dict[str, Bundle], latents: np.ndarray
) -> None:
    model = graph(students["deformable"], "synthesis")
    part = np.ascontiguousarray(latents[:, :4, :4])

    (expected,) = run(model, y=part)
    (got,) = evaluate(make(model, Form("plugin", "f32", "tensorrt")), y=pairs(part))

    difference = np.abs(got.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert difference.mean() <= 1e-3


def test_synthesis_in_half_with_our_plugin_is_within_a_level_when_the_kernels_twin_computes_it(
    students: dict[str, Bundle], latents: np.ndarray
) -> None:
    model = graph(students["deformable"], "synthesis")
    part = np.ascontiguousarray(latents[:, :4, :4])

    (expected,) = run(model, y=part)
    (got,) = evaluate(make(model, Form("plugin", "f16", "tensorrt")), y=pairs(part))

    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("name", ["analysis", "hyper_analysis"])
def test_encoders_graphs_give_the_same_numbers_in_the_form_for_tensorrt_rtx(
    rng: np.random.Generator, students: dict[str, Bundle], name: str
) -> None:
    model = graph(students["deformable"], name)
    feeds = (
        {"image": rng.integers(0, 256, (64, 128, 3)).astype(np.uint8)}
        if name == "analysis"
        else {"y_float": rng.standard_normal((128, 8, 4)).astype(np.float32)}
    )

    expected = run(model, **feeds)
    got = run(make(model, Form("grid-sample", "f32", "tensorrt")), **feeds)

    for have, want in zip(got, expected, strict=True):
        np.testing.assert_allclose(unpaired(have, want), want, atol=1e-3 if want.dtype == np.float32 else 1)


def test_equal_arguments_give_equal_bytes(students: dict[str, Bundle]) -> None:
    model = graph(students["deformable"], "synthesis")
    form = Form("grid-sample", "f16", "tensorrt")

    assert make(model, form) == make(model, form)


def test_form_has_the_names_of_the_bundles_ports(students: dict[str, Bundle]) -> None:
    model = graph(students["deformable"], "hyper")
    before, after = onnx.load_from_string(model).graph, onnx.load_from_string(make(model, Form(types="tensorrt"))).graph

    for ports in ("input", "output"):
        assert [port.name for port in getattr(after, ports)] == [port.name for port in getattr(before, ports)]


def test_something_else_than_a_model_is_refused() -> None:
    with pytest.raises(BundleError, match="not an ONNX model"):
        make(b"\x00 nothing of the kind", Form())
