"""runtime/cli/batch.py: what happens when some jobs fail, and where reports go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from fastlic.errors import PictureError
from fastlic.runtime.cli.batch import run
from fastlic.runtime.cli.jobs import Job


def work(job: Job) -> dict[str, str]:
    """Copy the input; inputs that hold `bad` cannot be read."""
    content = job.read()
    if b"bad" in content:
        raise PictureError(f"{job.name}: cannot be decoded.")
    job.write(content)
    return {"source": job.name}


def run_all(jobs: list[Job], *, as_json: bool = False, force: bool = False) -> None:
    run(jobs, work, verb="copying", line="done {source}".format_map, as_json=as_json, force=force)


@pytest.fixture
def mixed(tmp_path: Path) -> list[Job]:
    """One job that works, one whose input is bad, one whose input is missing."""
    for name in ("good", "bad"):
        (tmp_path / name).write_text(name)
    return [Job(tmp_path / name, tmp_path / "out" / name) for name in ("good", "bad", "missing")]


def test_run_goes_on_after_a_failure_and_exits_with_1(mixed: list[Job], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stop:
        run_all(mixed[::-1])

    out, err = capsys.readouterr()
    assert stop.value.exit_code == 1
    assert out == f"done {mixed[0].name}\n"
    assert err.splitlines() == [
        f"fastlic: FileNotFoundError: {mixed[2].name}: No such file or directory",
        f"fastlic: PictureError: {mixed[1].name}: cannot be decoded.",
        "fastlic: 2 of 3 failed",
    ]
    assert [path.name for path in (mixed[0].source.parent / "out").iterdir()] == ["good"]  # type: ignore[union-attr]


def test_run_json_prints_one_object_per_file_failures_included(
    mixed: list[Job], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        run_all(mixed, as_json=True)

    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record.get("error") for record in records] == [None, "PictureError", "FileNotFoundError"]


def test_run_existing_output_is_kept_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = Job(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in").write_text("new")
    (tmp_path / "out").write_text("old")

    with pytest.raises(typer.Exit):
        run_all([job])
    assert (tmp_path / "out").read_text() == "old"
    assert "exists. Replace it with --force" in capsys.readouterr().err

    run_all([job], force=True)
    assert (tmp_path / "out").read_text() == "new"


def test_run_result_on_standard_output_moves_the_report_to_standard_error(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (tmp_path / "in").write_text("content")

    run_all([Job(tmp_path / "in", None)])

    out, err = capfdbinary.readouterr()
    assert out == b"content"
    assert err.startswith(b"done ")


def test_run_json_and_result_on_standard_output_are_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="cannot both go to standard output"):
        run_all([Job(tmp_path / "in", None)], as_json=True)
