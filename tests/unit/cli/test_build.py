from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_student
from emulation.cuda import EmulatedCuda
from fake_tensorrt import FakeTensorRT

from fastlic.export import preparation
from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.cli import app
from fastlic.runtime.engines.tensorrt import library
from fastlic.runtime.forms import Form, FormCache


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTLIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.licb"
    path.write_bytes(tiny_student.bundle_bytes())
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorRT]:
    with EmulatedCuda().installed() as cuda:
        made = FakeTensorRT(cuda)
        library.load.cache_clear()
        monkeypatch.setattr(library, "_import", lambda *_: made.module)
        yield made
        library.load.cache_clear()


def run(*arguments: str | Path) -> int:
    """The exit code of `fastlic build`."""
    try:
        app.main(["build", *map(str, arguments)])
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_without_the_library_one_sentence_says_what_to_install(
    capsys: pytest.CaptureFixture[str], source: Path, cache: Path, name: str
) -> None:
    library.load.cache_clear()
    title = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}[name]

    code = run(source, "--engine", name)

    assert code == 1
    assert capsys.readouterr().err == (
        f"fastlic: EngineUnavailable: {title} is not installed. Install it: pip install 'fastlic[{name}]'.\n"
    )
    assert not cache.exists()


def test_build_makes_forms_and_engines_that_a_decoder_then_finds(
    capsys: pytest.CaptureFixture[str], fake: FakeTensorRT, source: Path
) -> None:
    assert run(source, "--size", "64x32", "--json") == 0

    said = capsys.readouterr()
    assert "is missing" not in said.err
    reports = [json.loads(line) for line in said.out.splitlines()]
    assert [(r["graph"], r["done"]) for r in reports] == [
        *((name, "form") for name in ("hyper", "context", "synthesis")),
        *((name, "built") for name in ("hyper", "context", "synthesis")),
    ]
    with Bundle(source) as bundle:
        engine = engines.create("tensorrt", 1, build=False)
        again = preparation.build_engines(bundle, engine, [(64, 32)])  # type: ignore[arg-type]
        assert [report.done for report in again] == ["cached"] * 3


def test_second_build_makes_nothing_anew(capsys: pytest.CaptureFixture[str], fake: FakeTensorRT, source: Path) -> None:
    run(source, "--size", "64x32")
    capsys.readouterr()
    built = len(fake.built)

    run(source, "--size", "64x32")

    said = capsys.readouterr()
    assert len(fake.built) == built
    assert [line.split()[3] for line in said.out.splitlines()] == ["cached"] * 3
    assert said.err == ""


def test_every_size_that_is_named_gets_its_engines(fake: FakeTensorRT, source: Path) -> None:
    run(source, "--size", "128x64", "--size", "64x128")

    assert len(fake.built) == 6


def test_output_gets_engines_and_forms_as_files(fake: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    assert run(source, "--size", "64x32", "-o", tmp_path / "out") == 0

    names = sorted(path.name.split("-")[0] for path in (tmp_path / "out").iterdir())
    assert names == ["context", "context.onnx", "hyper", "hyper.onnx", "synthesis", "synthesis.onnx"]
    assert all("sm_90" in path.name for path in (tmp_path / "out").glob("*.engine"))


def test_engine_on_onnx_runtime_gets_its_half_precision_form(
    capsys: pytest.CaptureFixture[str], source: Path, cache: Path
) -> None:
    assert run(source, "--engine", "ort-cuda") == 0

    assert "synthesis written as onnx-standard-f16" in capsys.readouterr().err
    with Bundle(source) as bundle:
        model = bundle.member(bundle.manifest.graphs["synthesis"].file)
        assert FormCache().find(model, Form(precision="f16")) is not None


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--size", "768"], "width and height in pixels"),
        (["--size", "0x32"], "width and height in pixels"),
        (["--target", "8.9"], "--engine tensorrt-rtx with --output"),
        (["--form", "grid-sample"], "form must be one of plugin, library, standard"),
    ],
)
def test_wrong_options_are_refused(
    capsys: pytest.CaptureFixture[str], fake: FakeTensorRT, source: Path, arguments: list[str], what: str
) -> None:
    assert run(source, *arguments) == 2
    assert what in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_engine_that_takes_bundles_as_they_are_has_nothing_to_build(
    capsys: pytest.CaptureFixture[str], source: Path
) -> None:
    assert run(source, "--engine", "ort-cpu") == 1
    assert "takes bundles as they are" in capsys.readouterr().err
