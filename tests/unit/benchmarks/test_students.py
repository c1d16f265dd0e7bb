from __future__ import annotations

from pathlib import Path

import pytest
import tiny_student

from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.students import NETWORKS, WIDTHS, contents_of, with_networks
from fastlic.export.students.compressai import NAMES


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.licb"
    path.write_bytes(tiny_student.bundle_bytes())
    return path


def test_contents_are_those_that_a_decoder_needs(bundle: Path) -> None:
    held = contents_of(bundle)

    assert (held.graphs, held.passes, held.exact, held.rate_cost) == (3, 3, "exact", None)
    assert held.size == bundle.stat().st_size
    assert held.weights > 0


def test_networks_are_the_graphs_of_tiles_together(bundle: Path) -> None:
    stages = {name: Summary.of([seconds]) for name, seconds in (("hyper", 0.002), ("context", 0.003), ("other", 1.0))}

    assert with_networks(stages, bundle)[NETWORKS] == pytest.approx(5.0)


def test_every_family_of_compressai_has_widths() -> None:
    assert set(WIDTHS) == set(NAMES)
