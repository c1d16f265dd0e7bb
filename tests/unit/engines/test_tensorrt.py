"""The engines of TensorRT from a `.lic` file to pixels, on an emulated driver, with ONNX Runtime for the library."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tiny_student
from emulation.cuda import EmulatedCuda
from fake_tensorrt import FakeTensorRT
from PIL import Image
from small_models import GOLDEN, deformable_student

import fastlic
from fastlic.errors import BundleError, EngineUnavailable
from fastlic.export.forms.making import make
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines.tensorrt import library
from fastlic.runtime.forms import FormCache

DATA = Path(__file__).parents[2] / "data"
NAMES = ["tensorrt", "tensorrt-rtx"]
# BG-VAE is pinned to another engine.
STUDENTS = [deformable_student()[0], *sorted(path for path in GOLDEN.glob("*.licb") if path.stem != "bgvae-small")]
BUILDS = ("hyper", "context", "synthesis")


@pytest.fixture
def cuda() -> Iterator[EmulatedCuda]:
    with EmulatedCuda().installed() as emulated:
        yield emulated


@pytest.fixture
def fake(cuda: EmulatedCuda) -> Iterator[FakeTensorRT]:
    made = FakeTensorRT(cuda)
    with install(made):
        yield made


def install(fake: FakeTensorRT) -> Any:
    """Let `library` find a fake instead of NVIDIA's modules."""
    library.load.cache_clear()
    return mock.patch.object(library, "_import", return_value=fake.module)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.licb"
    path.write_bytes(tiny_student.bundle_bytes())
    return path


def engine_for(name: str, bundle: Path, cache: Path, **options: Any) -> Any:
    """An engine of that name with the forms of a bundle prepared."""
    engine = engines.create(name, 1, cache=cache, **options)
    forms = FormCache(cache)
    with Bundle(bundle) as opened:
        for spec in opened.manifest.graphs.values():
            model, form = opened.member(spec.file), engine.form(spec.exact)
            if forms.find(model, form) is None:
                forms.store(model, form, make(model, form))
    return engine


def decode(engine: Any, bundle: Path, data: bytes) -> np.ndarray:
    with fastlic.Decoder(bundle, engine=engine, threads=1) as decoder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is built now", category=RuntimeWarning)
        return decoder.decode(data)


def tiny_file() -> bytes:
    return (GOLDEN / "tiny-square.lic").read_bytes()


@pytest.mark.parametrize(
    ("path", "name"),
    [(deformable_student()[0], "tensorrt"), *((path, "tensorrt-rtx") for path in STUDENTS)],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_golden_file_of_every_student_decodes_within_a_level(
    fake: FakeTensorRT, tmp_path: Path, path: Path, name: str
) -> None:
    (golden,) = [*GOLDEN.glob(f"{path.stem}-square.lic"), *DATA.glob(f"{path.stem}-square.lic")]
    options = {"form": "standard"} if name == "tensorrt" else {}

    picture = decode(engine_for(name, path, tmp_path, **options), path, golden.read_bytes())

    expected = np.asarray(Image.open(golden.with_suffix(".png")).convert("RGB")).astype(int)
    assert np.abs(picture.astype(int) - expected).max() <= 1
    assert len(fake.built) >= 1


def test_second_decoder_builds_nothing_and_gives_the_same_picture(
    fake: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    first = decode(engine_for("tensorrt", source, tmp_path), source, tiny_file())
    built = len(fake.built)

    second = decode(engine_for("tensorrt", source, tmp_path), source, tiny_file())

    assert built == len(BUILDS) == len(fake.built)
    np.testing.assert_array_equal(first, second)


def test_decode_stays_on_the_device_and_is_recorded_once_its_shape_is_known(
    cuda: EmulatedCuda, fake: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    engine = engine_for("tensorrt-rtx", source, tmp_path)
    with fastlic.Decoder(source, engine=engine, threads=1) as decoder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is built now", category=RuntimeWarning)

        pictures = [decoder.decode(tiny_file()) for _ in range(3)]

    assert "mixture_rows_3x3" in cuda.launches  # our kernels, between the library's graphs
    assert cuda.graphs_launched > 0
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_building_during_a_decode_is_told(fake: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    engine = engine_for("tensorrt", source, tmp_path)

    with (
        fastlic.Decoder(source, engine=engine, threads=1) as decoder,
        pytest.warns(RuntimeWarning, match=r"the engine of .* is missing; it is built now") as told,
    ):
        decoder.decode(tiny_file())

    assert ["hyper" in str(told[0].message), len(told)] == [True, len(BUILDS)]


def test_nothing_is_built_when_that_is_off(fake: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    engine = engine_for("tensorrt", source, tmp_path, build=False)

    with pytest.raises(EngineUnavailable, match=r"building is off\. Run `fastlic build"):
        decode(engine, source, tiny_file())
    assert fake.built == []


def test_student_that_was_not_prepared_is_refused_with_the_command_to_run(
    fake: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    engine = engines.create("tensorrt", 1, cache=tmp_path)

    with pytest.raises(EngineUnavailable, match=r"hyper was not prepared .* `fastlic build STUDENT.licb --engine tens"):
        decode(engine, source, tiny_file())


@pytest.mark.parametrize("damage", ["cut", "flip", "renamed"])
def test_file_that_cannot_be_trusted_is_never_deserialised_and_is_built_again(
    fake: FakeTensorRT, source: Path, tmp_path: Path, damage: str
) -> None:
    expected = decode(engine_for("tensorrt", source, tmp_path), source, tiny_file())
    files = sorted(tmp_path.glob("engines/*.engine"))
    stored = [path.read_bytes() for path in files]
    for number, path in enumerate(files):
        kept = stored[number]
        spoilt = {"cut": kept[:-9], "flip": kept[:-9] + b"?" + kept[-8:], "renamed": stored[number - 1]}[damage]
        path.write_bytes(spoilt)
    fake.built.clear()

    picture = decode(engine_for("tensorrt", source, tmp_path), source, tiny_file())

    # The fake raises on bytes that are no engine of its own, so a damaged one would not have come this far.
    assert len(fake.built) == len(BUILDS)
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("change", ["version", "capability", "student", "precision"])
def test_engine_of_another_version_gpu_or_student_is_not_found(
    cuda: EmulatedCuda, source: Path, tmp_path: Path, change: str
) -> None:
    fake = FakeTensorRT(cuda)
    with install(fake):
        decode(engine_for("tensorrt", source, tmp_path), source, tiny_file())
    other = FakeTensorRT(cuda, "11.5.0.1" if change == "version" else "11.4.0.106")
    if change == "student":
        source.write_bytes(tiny_student.bundle_bytes(2))
    with install(other):
        engine = engine_for("tensorrt", source, tmp_path, precision="f32" if change == "precision" else "f16")
        if change == "capability":
            engine.device.capability = (8, 6)
        graphs = {name: load(engine, source, name) for name in BUILDS}
        hyper = engine_key(engine, graphs["synthesis"] if change == "precision" else graphs["hyper"])

    assert engine.store.find(hyper) is None


def load(engine: Any, bundle: Path, name: str) -> Any:
    with Bundle(bundle) as opened:
        spec = opened.manifest.graphs[name]
        return engine.load_on_device(opened.member(spec.file), name, spec.exact)


def engine_key(engine: Any, graph: Any) -> Any:
    """The key of the one engine that a decode of the golden file needs of a graph."""
    from fastlic.kernels.cuda.arrays import ArraySpec
    from fastlic.runtime.shapes import inputs_of_a_decode
    from fastlic.runtime.student import Student

    bundle = Bundle(tiny_student.bundle_bytes())
    header = fastlic.probe(tiny_file())
    seen = inputs_of_a_decode(Student(bundle, engines.create("ort-cpu", 1)), header.width, header.height)
    return graph.key([ArraySpec(*given) for given in seen[graph._name][0]])


def test_key_of_the_engine_that_was_built_is_found(fake: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    engine = engine_for("tensorrt", source, tmp_path)
    decode(engine_for("tensorrt", source, tmp_path), source, tiny_file())

    for name in BUILDS:
        assert engine.store.find(engine_key(engine, load(engine, source, name))) is not None


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda layers: [{"Name": "conv", "TacticName": "sm80_xmma_gemm_tf32f32"}], "a layer computes in TF32"),
        (lambda layers: [{"Name": "conv", "Outputs": [{"Format/Datatype": "Half"}]}], "compute in half precision"),
        (lambda layers: [], "no layers"),
    ],
)
def test_engine_that_does_something_else_than_asked_is_refused_and_not_kept(
    fake: FakeTensorRT, source: Path, tmp_path: Path, spoil: Any, what: str
) -> None:
    fake.spoil = spoil

    with pytest.raises(BundleError, match=what):
        decode(engine_for("tensorrt", source, tmp_path), source, tiny_file())
    assert list(tmp_path.glob("engines/*.engine")) == []


def test_what_one_build_learnt_of_timings_is_given_to_the_next(
    fake: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    decode(engine_for("tensorrt", source, tmp_path), source, tiny_file())

    assert fake.timings_given == [b"", b"+1", b"+1+1"]


def test_what_the_device_has_compiled_is_kept_for_the_next_time(
    fake: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    """TensorRT for RTX finishes an engine on the device that it meets."""
    decode(engine_for("tensorrt-rtx", source, tmp_path), source, tiny_file())

    decode(engine_for("tensorrt-rtx", source, tmp_path), source, tiny_file())

    assert len(list(tmp_path.glob("engines/*.finished"))) == len(BUILDS)
    assert fake.continued == [b""] * len(BUILDS) + [b"compiled"] * len(BUILDS)


@pytest.mark.parametrize("name", NAMES)
def test_closing_gives_all_device_memory_back(
    cuda: EmulatedCuda, fake: FakeTensorRT, source: Path, tmp_path: Path, name: str
) -> None:
    engine = engine_for(name, source, tmp_path)
    decode(engine, source, tiny_file())

    assert cuda.allocated() == 0


def test_a_bound_graph_can_be_captured_and_launched_again(
    cuda: EmulatedCuda, fake: FakeTensorRT, source: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    from fastlic.kernels.cuda.arrays import ArraySpec, DeviceArray

    engine = engine_for("tensorrt", source, tmp_path)
    graph, stream = load(engine, source, "synthesis"), engine.open_stream()
    inputs = [DeviceArray.empty(engine.device, ArraySpec(np.dtype(np.int16), (tiny_student.M, 8, 8)))]
    with pytest.warns(RuntimeWarning, match="is built now"):
        specs = graph.outputs([array.spec for array in inputs])
    outputs = [DeviceArray.empty(engine.device, spec) for spec in specs]
    bound = graph.bind(inputs, outputs, stream)
    bound.enqueue()
    recorded = stream.capture(bound.enqueue)
    y = rng.integers(-9, 9, inputs[0].shape).astype(np.int16)

    inputs[0].upload(y, stream)
    recorded.launch(stream)
    stream.synchronize()

    (expected,) = engines.create("ort-cpu", 1).load(Bundle(source).member("graphs/synthesis.onnx"), "s", False)([y])
    assert bound.capturable
    assert np.abs(outputs[0].numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_absent_library_is_told_in_one_sentence(cuda: EmulatedCuda, name: str) -> None:
    library.load.cache_clear()

    with pytest.raises(EngineUnavailable, match=rf"is not installed. Install it: pip install 'fastlic\[{name}\]'"):
        engines.create(name, 1)


def test_old_library_is_refused(cuda: EmulatedCuda) -> None:
    with install(FakeTensorRT(cuda, "10.3.0")), pytest.raises(EngineUnavailable, match=r"10\.3\.0 is too old; 10\.9"):
        engines.create("tensorrt", 1)


def test_library_without_ahead_of_time_plugins_says_which_form_to_use(fake: FakeTensorRT, tmp_path: Path) -> None:
    bundle, path = deformable_student()

    with pytest.raises(EngineUnavailable, match="compiled ahead of time: update it, or build with --form standard"):
        decode(engine_for("tensorrt", bundle, tmp_path), bundle, path.read_bytes())


def test_form_library_loads_the_library_that_the_environment_names(
    fake: FakeTensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "libfastlic_tensorrt.so"
    named.touch()
    monkeypatch.setenv(library.PLUGIN_LIBRARY, str(named))

    engines.create("tensorrt", 1, form="library")

    assert fake.libraries == [str(named)]


@pytest.mark.parametrize(
    ("named", "what"), [(None, "compile it"), ("/nowhere/lib.so", "does not load /nowhere/lib.so")]
)
def test_form_library_without_a_library_says_what_to_do(
    fake: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, named: str | None, what: str
) -> None:
    if named is None:
        monkeypatch.delenv(library.PLUGIN_LIBRARY, raising=False)
    else:
        monkeypatch.setenv(library.PLUGIN_LIBRARY, named)

    with pytest.raises(EngineUnavailable, match=what):
        engines.create("tensorrt", 1, form="library")


@pytest.mark.parametrize("options", [{"form": "grid-sample"}, {"precision": "f8"}])
def test_unknown_option_is_refused(fake: FakeTensorRT, options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        engines.create("tensorrt", 1, **options)
