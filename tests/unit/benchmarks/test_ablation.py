"""benchmarks/ablation.py: reading finished runs and comparing them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="reads tables of the training loop")

from fastlic.benchmarks.ablation import Curves, differences, draw, spread, with_seed
from fastlic.export.distill import journal
from fastlic.export.distill.configuration import Data, Loss, Optimiser, Run


@pytest.fixture
def curves(tmp_path):
    """`curves(loss, ...)`: a run whose full pictures had these losses at iterations 0, 1, ..."""

    def make(*losses: float) -> Curves:
        path = tmp_path / "watch.csv"
        path.unlink(missing_ok=True)
        table = journal.Table(path, ("iteration", "loss", "bpp", "psnr", "z_share", "rare"), 0)
        for iteration, loss in enumerate(losses):
            table.add({"iteration": iteration, "loss": loss, "bpp": 0.5, "psnr": 30.0, "z_share": 0.03, "rare": 0.0})
        return Curves.of(path)

    return make


def test_curves_hold_the_figures_by_iteration(curves):
    found = curves(3.0, 2.0)

    assert found.iteration == [0, 1]
    assert found.figures == {"loss": [3, 2], "bpp": [0.5, 0.5], "psnr": [30, 30], "z_share": [0.03, 0.03]}


def test_differences_pair_the_last_figures_of_equal_seeds(curves):
    base, other = [curves(9.0, 2.0), curves(9.0, 3.0)], [curves(9.0, 1.5), curves(9.0, 3.25)]

    assert differences(base, other, "loss") == [-0.5, 0.25]


def test_spread_gives_a_deviation_only_of_several():
    assert spread([1.0, 2.0], 2) == "1.50 +- 0.71"
    assert spread([0.25], 3, "+") == "+0.250"


def test_with_seed_changes_the_seed_and_gives_each_run_its_folder():
    run = Run("taught", Path("out"), {}, Data(archives=()), Loss(trade_off=1.0), Optimiser(iterations=1))

    one, two = (with_seed(run, seed, Path("runs")) for seed in (1, 2))

    assert (one.seed, two.seed) == (1, 2)
    assert one.output == Path("runs/taught/seed-1")
    assert one.output != two.output


def test_draw_writes_a_picture(curves, tmp_path):
    pytest.importorskip("matplotlib", reason="curves need fastlic[bench]")

    draw({"alone": [curves(3.0, 2.0, 1.0)], "taught": [curves(3.0, 1.5, 0.9)]}, tmp_path / "ablation.png")

    assert (tmp_path / "ablation.png").stat().st_size > 1000
