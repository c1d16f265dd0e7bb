from __future__ import annotations

import pytest
import torch

from fastlic.errors import ConfigurationError
from fastlic.export.distill.data import Crops


def test_crops_held_out_keep_whole_sources_apart(archive):
    everything = Crops([archive], 0.0)
    split = Crops([archive], 0.5)

    assert len(everything.trained) == 12
    assert everything.watched == []
    assert len(split.trained) + len(split.watched) == 12
    # Three crops a source: a source is never split.
    assert len(split.watched) in (3, 6, 9)


def test_batch_same_generator_state_gives_the_same_patches(archive):
    crops = Crops([archive], 0.0)

    first, again, other = (crops.batch(3, 64, 1.5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))

    assert first.shape == (3, 3, 64, 64)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1


def test_batch_without_zoom_holds_pixels_of_the_crops(archive):
    crops = Crops([archive], 0.0)

    patch = crops.batch(1, 64, 1.0, torch.Generator().manual_seed(4))[0] * 255

    values = torch.cat([crop.flatten() for crop in crops.trained]).unique()
    assert torch.isin(patch.round().to(torch.uint8), values).all()
    assert torch.allclose(patch, patch.round(), atol=1e-4)


@pytest.mark.parametrize("held_out", [0.0, 0.5])
def test_full_pictures_are_mosaics_of_crops(archive, held_out):
    pictures = Crops([archive], held_out).full_pictures(2)

    assert len(pictures) >= 1
    assert all(picture.shape == (1, 3, 192, 256) for picture in pictures)


def test_crops_archive_damaged_is_refused_by_name(tmp_path):
    (tmp_path / "bad.tar").write_bytes(b"no archive")

    with pytest.raises(ConfigurationError, match=r"bad\.tar cannot be read"):
        Crops([tmp_path / "bad.tar"], 0.0)


def test_crops_none_found_is_refused():
    with pytest.raises(ConfigurationError, match="must exist and have one size"):
        Crops([], 0.0)
