from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from library_students import made

from fastlic.benchmarks import fidelity
from fastlic.benchmarks.fidelity import Fidelity
from fastlic.benchmarks.peers import library
from fastlic.benchmarks.peers.environment import PeerUnavailable
from fastlic.export.calibration import made_up


def test_report_sums_symbols_and_bits_and_averages_quality() -> None:
    found = [
        Fidelity(1000, 1, 500.0, 505.0, 600.0, 30.0, 30.01),
        Fidelity(1000, 3, 500.0, 500.0, 600.0, 32.0, 31.97),
    ]

    line = fidelity.report(found)

    assert "symbols 2000  differing 4 (0.200 %)" in line
    assert "streams +0.50 %  files +20.00 %" in line
    assert "PSNR 31.000 dB  ours -0.0100 dB  worst -0.0300 dB" in line


def test_library_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(PeerUnavailable, match="pip install --no-deps compressai"):
        library.models()


def test_stand_ins_do_not_outlive_the_import() -> None:
    made("mbt2018-mean")

    assert not [name for name, module in sys.modules.items() if type(module).__name__ == "MagicMock"]


def test_forward_gives_what_the_synthesis_saw() -> None:
    model = made("mbt2018-mean")
    picture = torch.from_numpy(made_up(1, 64)[0]).permute(2, 0, 1)[None].float() / 255

    seen, shown, bits = library.forward(model, picture)

    with torch.no_grad():
        np.testing.assert_array_equal(model.g_s(seen[None])[0], shown)
    assert bits > 0
