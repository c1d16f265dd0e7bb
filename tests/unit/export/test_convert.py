from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch

from fastlic.errors import CertificateError, CheckpointError, VerificationFailed
from fastlic.export import cost, halos, pipeline
from fastlic.export.calibration import made_up
from fastlic.export.convert import convert
from fastlic.export.recipe import FloatGraph
from fastlic.export.students import fu2023_recipe
from fastlic.runtime import conformance
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder, Encoder


def test_export_makes_a_bundle_whose_vectors_decode_with_every_engine_and_reader(exported) -> None:
    findings = list(conformance.check_bundle(str(exported.bundle), engine=None))

    assert len(findings) >= 4
    assert [finding for finding in findings if finding.problem] == []


def test_export_says_what_it_does_and_reports_what_the_manifest_holds(exported) -> None:
    with Bundle(exported.bundle) as bundle:
        validation, fingerprint = bundle.manifest.validation, bundle.fingerprint.hex()

    assert exported.lines[0] == "reading the checkpoint"
    assert exported.report["fingerprint"] == fingerprint
    assert exported.report["bytes"] == exported.bundle.stat().st_size
    assert set(validation["rate_cost"]) == {
        "weights", "activations", "means", "scales", "logits", "windows", "skip", "total", "float_bpp",
    }  # fmt: skip
    causes = {name: share for name, share in validation["rate_cost"].items() if name not in ("total", "float_bpp")}
    assert sum(causes.values()) == pytest.approx(validation["rate_cost"]["total"], abs=5e-6)
    assert 0 <= validation["skip_changed_elements"] < 0.01
    assert validation["calibration"] == {"pictures": 6, "origin": "pictures"}


def test_bundle_carries_card_certificates_and_measured_halos(exported) -> None:
    with Bundle(exported.bundle) as bundle:
        manifest = bundle.manifest

    assert manifest.student["name"] == "tiny"
    assert manifest.student["licence"] == "CC0-1.0"
    assert manifest.student["configuration"]["attention"] is True
    assert len(manifest.student["checkpoint_sha256"]) == 64
    bounds = [max(layer["products"]) for graph in manifest.certificates.values() for layer in graph.values()]
    assert 0 < max(bounds) < 1 << 24
    assert manifest.graphs["synthesis"].halo % 16 == 0
    assert manifest.graphs["synthesis"].halo >= 32


def test_pictures_of_any_size_come_back_from_the_bundle(exported) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (65, 31, 3), np.uint8)

    with Encoder(exported.bundle) as encoder, Decoder(exported.bundle) as decoder:
        decoded = decoder.decode(encoder.encode(picture))

    assert decoded.shape == picture.shape


def test_export_twice_gives_the_same_bytes(exported, tmp_path) -> None:
    convert(exported.checkpoint, tmp_path / "again.licb", calibration=exported.pictures)

    assert (tmp_path / "again.licb").read_bytes() == exported.bundle.read_bytes()


@pytest.fixture
def quick(exported, monkeypatch) -> None:
    """Exports of the same checkpoint that take transforms and halos from the bundle instead of making them again."""
    with Bundle(exported.bundle) as bundle:
        manifest = bundle.manifest
        made = {name: bundle.member(manifest.graphs[name].file) for name in ("analysis", "hyper_analysis", "synthesis")}
    margins = {name: manifest.graphs[name].halo for name in ("analysis", "synthesis")}
    by_module = {"Analysis": "analysis", "HyperAnalysis": "hyper_analysis", "Synthesis": "synthesis"}

    def emitted(graph: FloatGraph, _multiple: int) -> bytes:
        return made[by_module[type(graph.module).__name__]]

    monkeypatch.setattr(pipeline, "emit_graph", emitted)
    monkeypatch.setattr(halos, "measured", lambda *_: margins)


@pytest.mark.usefixtures("quick")
def test_rate_cost_beyond_the_budget_is_refused_with_its_causes(exported, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cost, "MAX_RATE_COST", -1.0)

    with pytest.raises(VerificationFailed, match=r"costs .* % more than the float model's bits.*'activations'"):
        convert(exported.checkpoint, tmp_path / "none.licb", calibration=exported.pictures)


@pytest.mark.usefixtures("quick")
def test_layer_that_cannot_be_proved_is_refused(exported, tmp_path, monkeypatch) -> None:
    def unproved(network: object) -> None:
        raise CertificateError("h_s.0: a sum can reach 99999999")

    monkeypatch.setattr(fu2023_recipe, "certify", unproved)

    with pytest.raises(CertificateError, match=r"h_s\.0"):
        convert(exported.checkpoint, tmp_path / "none.licb", calibration=exported.pictures)

    assert list(tmp_path.iterdir()) == []


def test_checkpoint_without_a_configuration_is_refused(tmp_path) -> None:
    torch.save({}, tmp_path / "bare.pt")

    with pytest.raises(CheckpointError, match="no configuration"):
        convert(tmp_path / "bare.pt", tmp_path / "none.licb")


def test_manifest_is_readable_json_within_the_archive(exported) -> None:
    with zipfile.ZipFile(exported.bundle) as archive:
        text = archive.read("manifest.json")

    assert json.loads(text)["format"] == [1, 0]
    assert text.count(b"\n") > 50


def test_bundle_with_attention_decoded_in_windows_differs_by_at_most_one_level(
    exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = made_up(1, 512, seed=4)[0]
    with Encoder(exported.bundle, threads=1) as encoder, Decoder(exported.bundle, threads=1) as decoder:
        data = encoder.encode(picture)
        whole = decoder.decode(data).astype(int)
        monkeypatch.setattr("fastlic.runtime.tiles.TARGET_EDGE", 128)
        in_windows = decoder.decode(data).astype(int)

    assert whole.std() > 1
    assert np.abs(in_windows - whole).max() <= 1
