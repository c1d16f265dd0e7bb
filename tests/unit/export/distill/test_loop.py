from __future__ import annotations

import pytest
import torch

from fastlic.export import checkpoint
from fastlic.export.distill import journal
from fastlic.export.distill.loop import train

pytest.importorskip("matplotlib", reason="curves need fastlic[bench]")


def test_train_leaves_a_checkpoint_tables_and_curves(run, capsys):
    path = train(run)

    assert checkpoint.load(path).model.configuration.N == 4
    assert [row["iteration"] for row in journal.read(run.output / "steps.csv")] == ["1", "2", "3", "4", "5", "6"]
    assert [row["iteration"] for row in journal.read(run.output / "watch.csv")] == ["0", "3", "6"]
    assert (run.output / "curves.png").stat().st_size > 1000
    assert "tiny 6/6 loss" in capsys.readouterr().out


def test_train_again_with_more_iterations_equals_one_long_run(run, changed, tmp_path):
    short, long = changed(run, optimiser={"warm_up": 100, "iterations": 4}), changed(run, optimiser={"warm_up": 100})
    whole = train(changed(long, output=tmp_path / "whole"))
    train(short)

    resumed = train(long)

    one, other = (torch.load(path, weights_only=True) for path in (whole, resumed))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert len(journal.read(run.output / "steps.csv")) == 6


def test_train_finished_run_changes_nothing(run):
    path = train(run)
    before = path.read_bytes()

    train(run)

    assert path.read_bytes() == before


def test_train_that_failed_before_its_first_state_begins_its_tables_anew(run, changed):
    train(changed(run, optimiser={"iterations": 1}))
    (run.output / "state.pt").unlink()

    train(run)

    assert [row["iteration"] for row in journal.read(run.output / "watch.csv")] == ["0", "3", "6"]
