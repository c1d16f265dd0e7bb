"""The pipeline that every recipe goes through: a student of one level, exported once, and what must stop an export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastlic.errors import PictureError, VerificationFailed
from fastlic.export import cost, halos, pipeline, tracing
from fastlic.export.calibration import made_up
from fastlic.export.checking import CheckingEngine, exact_check, float_check
from fastlic.export.pipeline import Pictures, export
from fastlic.export.recipe import ExactGraph, Recipe
from fastlic.export.students.ilc import Ilc
from fastlic.export.verify import Report
from fastlic.runtime import conformance, engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.manifest import Port

CARD = {"name": "tiny-ilc", "family": "ilc"}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    torch.manual_seed(6)
    return Ilc.from_configuration(
        {
            "student": "ilc",
            "kernels": [3],
            "hidden": [3],
            "couplings": 1,
            "bound": 1.0,
            "gain": 16.0,
            "prior": "deep factorised (CompressAI key names)",
        }
    ).recipe()


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    found = made_up(3, 64, seed=2)
    return Pictures(found[:2], found[2:], "made up")


@pytest.fixture(scope="module")
def exported(
    recipe: Recipe, pictures: Pictures, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[str]]:
    path, lines = tmp_path_factory.mktemp("pipeline") / "tiny.licb", []
    report = export(recipe, CARD, pictures, path, progress=lines.append)
    return path, report, lines


@pytest.fixture
def quick(exported: tuple[Path, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports that take graphs and halos from the bundle instead of making them again."""
    with Bundle(exported[0]) as bundle:
        manifest = bundle.manifest
        made = {name: bundle.member(graph.file) for name, graph in manifest.graphs.items()}
    monkeypatch.setattr(
        pipeline, "emit_graph", lambda graph, _: made["analysis" if graph.outputs[0].name == "y" else "synthesis"]
    )
    found = {name: graph.halo for name, graph in manifest.graphs.items()}
    monkeypatch.setattr(halos, "measured", lambda *_: found)


def test_bundle_holds_its_vectors_on_every_engine_and_the_report(exported: tuple[Path, dict[str, Any], Any]) -> None:
    path, report, lines = exported
    with Bundle(path) as bundle:
        manifest, fingerprint = bundle.manifest, bundle.fingerprint.hex()

    assert [finding for finding in conformance.check_bundle(str(path), engine=None) if finding.problem] == []
    assert report["fingerprint"] == fingerprint
    assert report["bytes"] == path.stat().st_size
    assert manifest.validation["rate_cost"] == report["rate_cost"]
    assert manifest.graphs["synthesis"].halo % 16 == 0
    assert set(report["transforms"]) == {"analysis", "synthesis"}
    assert lines[0] == "emitting the transforms"


@pytest.mark.usefixtures("quick")
def test_bundle_without_an_encoder_decodes_the_files_of_the_whole_one(
    exported: tuple[Path, Any, Any], recipe: Recipe, pictures: Pictures, tmp_path: Path
) -> None:
    export(recipe, CARD, pictures, tmp_path / "small.licb", encoder=False)
    picture = made_up(1, 64, seed=8)[0][:40]

    with Encoder(exported[0], threads=1) as encoder, Decoder(exported[0], threads=1) as whole:
        data = encoder.encode(picture)
        expected = whole.decode(data)
    with Decoder(tmp_path / "small.licb", threads=1) as decoder:
        np.testing.assert_array_equal(decoder.decode(data), expected)
    assert (tmp_path / "small.licb").stat().st_size < exported[0].stat().st_size
    with Encoder(tmp_path / "small.licb") as encoder, pytest.raises(PictureError, match="without an encoder"):
        encoder.encode(picture)


@pytest.mark.usefixtures("quick")
def test_rate_cost_beyond_the_budget_leaves_no_bundle(
    recipe: Recipe, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "MAX_RATE_COST", -1.0)

    with pytest.raises(VerificationFailed, match="more than the float model's bits"):
        export(recipe, CARD, pictures, tmp_path / "none.licb")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_graph_that_is_not_its_module_leaves_no_bundle(
    recipe: Recipe, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesis = recipe.transforms["synthesis"].module
    values = synthesis.values
    monkeypatch.setattr(synthesis, "values", lambda *inputs: (values(*inputs)[0] + 2,))

    with pytest.raises(VerificationFailed, match=r"synthesis: .* from float64"):
        export(recipe, CARD, pictures, tmp_path / "none.licb")

    assert list(tmp_path.iterdir()) == []


class Doubling:
    """An engine of one graph, which doubles."""

    name = "doubling"

    def load(self, model: bytes, name: str, exact: bool) -> Any:
        return lambda inputs: [2 * inputs[0]]

    def info(self) -> engines.EngineInfo:
        return engines.EngineInfo("doubling", "1", "cpu", 1)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("factor", "passes"), [(2, True), (3, False)])
def test_exact_graph_is_compared_with_its_oracle_at_each_evaluation(factor: int, passes: bool) -> None:
    exact = ExactGraph(b"", (Port("x", 1),), (Port("y", 1),), {}, (), lambda inputs: [factor * inputs[0]])
    engine = CheckingEngine(Doubling(), {"g": exact_check("g", exact, "here")})
    graph = engine.load(b"", "g", exact=True)
    x = np.arange(4, dtype=np.int16)

    if passes:
        np.testing.assert_array_equal(graph([x])[0], 2 * x)
    else:
        with pytest.raises(VerificationFailed, match=r"g, y, here.*3 numbers differ"):
            graph([x])


def test_graph_without_a_check_is_only_evaluated() -> None:
    assert CheckingEngine(Doubling(), {}).load(b"", "other", exact=False)([np.ones(1)])[0] == 2


def test_float_graph_within_its_rounding_passes(recipe: Recipe) -> None:
    graph, report = recipe.transforms["synthesis"], Report()
    y = np.random.default_rng(1).integers(-4, 5, (4, 8, 8)).astype(np.int16)
    with torch.no_grad():
        (image,) = graph.module(torch.from_numpy(y))

    float_check("synthesis", graph, report)([y], [image.numpy()])

    assert report.transforms["synthesis"]["error"] <= report.transforms["synthesis"]["allowed"]


def test_example_of_each_kind_has_the_size_of_its_stride(recipe: Recipe) -> None:
    picture, y = recipe.transforms["analysis"].inputs[0], recipe.transforms["analysis"].outputs[0]

    assert tracing.example(picture, 16, 2, 3).shape == (32, 48, 3)
    assert tracing.example(y, 16, 2, 3).shape == (4, 16, 24)
