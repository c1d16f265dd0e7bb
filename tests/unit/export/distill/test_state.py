from __future__ import annotations

import json

import pytest
import torch

from fastlic.errors import CheckpointError
from fastlic.export.distill import state


def test_save_and_load_give_back_tensors_and_numbers(tmp_path):
    state.save(tmp_path / "state.pt", {"iteration": 3, "weights": [{"w": torch.arange(4.0)}]})

    found = state.load(tmp_path / "state.pt")

    assert found["iteration"] == 3
    assert torch.equal(found["weights"][0]["w"], torch.arange(4.0))
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_save_that_fails_keeps_the_state_before(tmp_path):
    state.save(tmp_path / "state.pt", {"iteration": 3})

    with pytest.raises(Exception, match="pickle"):
        state.save(tmp_path / "state.pt", {"iteration": lambda: 4})

    assert state.load(tmp_path / "state.pt") == {"iteration": 3}


def test_load_cut_file_is_refused(tmp_path):
    state.save(tmp_path / "state.pt", {"weights": torch.zeros(1000)})
    whole = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(CheckpointError, match=r"state\.pt: the state cannot be read"):
        state.load(tmp_path / "state.pt")


def test_publish_writes_weights_and_configuration_side_by_side(tmp_path):
    state.publish(tmp_path / "a.pt", {"w": torch.zeros(2, dtype=torch.bfloat16)}, {"student": "fu2023"})

    assert torch.load(tmp_path / "a.pt", weights_only=True)["w"].dtype == torch.float32
    assert json.loads((tmp_path / "a.json").read_text()) == {"student": "fu2023"}
