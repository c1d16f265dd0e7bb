from __future__ import annotations

import pytest
from PIL import Image

from fastlic.export.distill import journal

COLUMNS = ("iteration", "loss", "bpp", "psnr", "z_share")


def _row(iteration: int) -> dict[str, float]:
    return {"iteration": iteration, "loss": 1 / (1 + iteration), "bpp": 0.5, "psnr": 30.0, "z_share": 0.04}


def test_table_opened_again_drops_rows_after_the_iteration(tmp_path):
    path = tmp_path / "steps.csv"
    table = journal.Table(path, COLUMNS, 0)
    for iteration in (1, 2, 3):
        table.add(_row(iteration))

    journal.Table(path, COLUMNS, 2).add(_row(3))

    assert [row["iteration"] for row in journal.read(path)] == ["1", "2", "3"]
    assert journal.read(path)[0]["loss"] == "0.5"


def test_draw_writes_a_picture(tmp_path):
    pytest.importorskip("matplotlib", reason="curves need fastlic[bench]")
    for name in ("steps", "watch"):
        table = journal.Table(tmp_path / f"{name}.csv", COLUMNS, 0)
        for iteration in (1, 2):
            table.add(_row(iteration))

    journal.draw(tmp_path / "steps.csv", tmp_path / "watch.csv", tmp_path / "curves.png")

    assert Image.open(tmp_path / "curves.png").size[0] > 400
