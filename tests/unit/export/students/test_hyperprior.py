from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch
from small_hyperpriors import CONFIGURATIONS, student
from torch import nn

from fastlic.export.calibration import made_up
from fastlic.export.convert import convert
from fastlic.export.description import without_encoder
from fastlic.export.publish import pack
from fastlic.export.students.transforms import Synthesis, by_phases
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.conformance import check_bundle
from fastlic.runtime.manifest import Code


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_schedule_codes_every_channel_of_y_once(name: str) -> None:
    recipe = student(name).recipe()
    grid = np.zeros((recipe.latents["y"].channels, 4, 4), int)
    rows, columns = np.indices((4, 4))

    for step in recipe.schedule:
        if isinstance(step, Code) and step.latent == "y":
            half = (rows + columns) % 2 == (step.parity == "odd")
            grid[slice(*step.channels)] += np.ones((4, 4), int) if step.parity == "all" else half

    assert (grid == 1).all()
    assert [recipe.schedule[shift.step].latent for shift in recipe.shifts] == ["y"] * len(recipe.shifts)


@pytest.mark.parametrize("name", CONFIGURATIONS)
@torch.no_grad()
def test_synthesis_gives_the_rounded_levels_of_g_s(name: str) -> None:
    model = student(name)
    parts = model.parts()
    port = next(iter(model.recipe().transforms["synthesis"].outputs))
    synthesis = Synthesis(parts.g_s)
    synthesis.outputs = (port,)
    y = 3 * torch.randn(parts.channels, 4, 8)

    (image,), (levels,) = synthesis(y), synthesis.values(y)

    wanted = 255 * parts.g_s(y[None])[0]
    torch.testing.assert_close(levels, wanted, atol=0.3, rtol=0.01)  # weights are rounded to half precision
    assert image.dtype == torch.uint8
    assert (image.permute(2, 0, 1) - levels.clamp(0, 255)).abs().max() <= 0.501


@torch.no_grad()
def test_network_by_phases_is_the_network() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(3, 5, 5, 2, 2, 1), nn.ReLU(), nn.ConvTranspose2d(5, 3, 5, 2, 2, 1))
    x = torch.randn(1, 3, 4, 5)

    torch.testing.assert_close(by_phases(network)(x), network(x), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, exported):
    """A checkpoint in CompressAI's format, exported without a configuration."""
    folder = tmp_path_factory.mktemp("hyperprior")
    torch.save(student("mbt2018-mean").state_dict(), folder / "small.pt")
    report = convert(folder / "small.pt", folder / "small.licb", student="mbt2018-mean", calibration=exported.pictures)
    return folder / "small.licb", report


def test_export_without_a_configuration_makes_a_bundle_that_verifies(converted) -> None:
    path, report = converted

    findings = list(check_bundle(str(path), engine="ort-cpu"))
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))

    assert findings
    assert [finding for finding in findings if finding.problem] == []
    assert len(report["exact"]) == 5
    assert manifest["student"]["family"] == "mbt2018-mean"
    assert manifest["student"]["configuration"] == {"N": 4, "M": 6}
    assert manifest["shifts"] == [{"step": 2, "values": "y_float", "means": "hyper_means", "unit": 32}]


def test_symbols_are_rounded_around_the_means_of_the_integer_networks(converted) -> None:
    picture = made_up(1, 128, seed=8)[0][:100]
    with Encoder(converted[0]) as encoder, Decoder(converted[0]) as decoder:
        data = encoder.encode(picture)
        latents, _ = decoder.decode_latents(data)
        assert decoder.decode(data).shape == picture.shape

    fractions = np.mod(latents["y_hat"] * 32, 32)
    assert (fractions == np.round(fractions)).all()
    assert (fractions != 0).any()


def test_bundle_without_an_encoder_has_no_shifts_and_the_same_fingerprint(converted) -> None:
    picture = made_up(1, 64, seed=8)[0]
    with Bundle(converted[0]) as bundle:
        whole = bundle.fingerprint
        members = {name: bundle.member(name) for name in bundle.manifest.members}
        small = pack(*without_encoder(bundle.manifest, members))

    with Bundle(small) as bundle:
        assert bundle.fingerprint == whole
        assert bundle.manifest.shifts == ()
    with Encoder(converted[0]) as encoder, Decoder(converted[0]) as decoder, Decoder(small) as other:
        data = encoder.encode(picture)
        np.testing.assert_array_equal(other.decode(data), decoder.decode(data))
