from __future__ import annotations

from pathlib import Path

import pytest

from fastlic.errors import ConfigurationError
from fastlic.export.distill.configuration import read
from fastlic.export.students.configuration import FIXED, Fu2023Configuration

ROOT = Path(__file__).parents[4]
COMMITTED = sorted((ROOT / "export" / "distill" / "configs").glob("*.toml"))
GOOD = """
name = "a"
output = "out"
[student]
N = 4
[data]
archives = ["a.tar"]
[loss]
trade_off = 0.01
[optimiser]
iterations = 10
"""


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="latin-1")
    return path


def test_read_good_file_gives_paths_and_defaults(tmp_path):
    run = read(_written(tmp_path, GOOD))

    assert run.output == Path("out")
    assert run.data.archives == (Path("a.tar"),)
    assert run.loss.sparsity == 0
    assert run.teacher is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("iterations = 10", "iterations = 0", r"`int` >= 1 - at `\$\.optimiser\.iterations`"),
        ("iterations = 10", "iteration = 10", "unknown field `iteration`"),
        ("trade_off = 0.01", "trade_off = 0", r"\$\.loss\.trade_off"),
        ("trade_off = 0.01", "trade_off = 0.01\ndistortion = 'ssim'", r"'ssim' - at `\$\.loss\.distortion`"),
        ('name = "a"', "", "missing required field `name`"),
        ('["a.tar"]', '["a.tar"]\npatch = 100', r"multiple of 64 - at `\$\.data\.patch`"),
        ('["a.tar"]', "[3]", r"\$\.data\.archives"),
        ("[loss]", "[loss", "cannot be read as TOML"),
        ('"a"', '"\xff"', "cannot be read as TOML"),
    ],
)
def test_read_bad_file_says_where(tmp_path, old, new, message):
    assert old in GOOD

    with pytest.raises(ConfigurationError, match=message):
        read(_written(tmp_path, GOOD.replace(old, new)))


def test_read_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent\.toml: cannot be read"):
        read(tmp_path / "absent.toml")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_configurations_are_in_order(path):
    run = read(path)

    Fu2023Configuration.from_mapping({"student": "fu2023", **FIXED, **run.student})
    assert run.optimiser.offsets_from <= run.optimiser.iterations


def test_committed_configurations_cover_the_three_steps():
    assert {"step1-teacher", "step2-equal", "step3-reduced"} <= {path.stem for path in COMMITTED}
