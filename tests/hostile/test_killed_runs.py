"""Bulk runs that are killed at random moments and resumed; `python -m hostile.killed_runs` does it for longer."""

from __future__ import annotations

from pathlib import Path

from hostile.killed_runs import Killing


def test_bulk_run_killed_three_times_is_complete_and_correct_after_the_last_resume(tmp_path: Path) -> None:
    figures = Killing(tmp_path, count=40, seed=3).run(kills=3)

    assert figures.kills == 3
