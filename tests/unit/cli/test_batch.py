"""runtime/cli/batch.py: what happens when some jobs fail, and where reports go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from fastlic.errors import PictureError
from fastlic.runtime.cli.batch import run
from fastlic.runtime.cli.jobs import Job, Plan


def work(job: Job, content: bytes) -> tuple[bytes, dict[str, str]]:
    """Copy the input; inputs that hold `bad` cannot be read."""
    if b"bad" in content:
        raise PictureError(f"{job.name}: cannot be decoded.")
    return content, {"source": job.name}


def run_all(
    jobs: list[Job],
    *,
    folder: Path | None = None,
    settings: str = "copy",
    as_json: bool = False,
    force: bool = False,
    workers: int = 1,
) -> None:
    """Copy; a folder makes it a bulk run."""
    run(
        Plan(jobs, folder),
        work,
        settings=lambda: settings,
        verb="copying",
        line="done {source}".format_map,
        as_json=as_json,
        force=force,
        workers=workers,
    )


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
        "fastlic: 2 of 3 failed:",
        f"fastlic:   {mixed[2].name}: FileNotFoundError",
        f"fastlic:   {mixed[1].name}: PictureError",
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


@pytest.fixture
def many(tmp_path: Path) -> list[Job]:
    """Forty inputs `in/NN`, each with a content of its own, for the folder `out`."""
    (tmp_path / "in").mkdir()
    for number in range(40):
        (tmp_path / "in" / f"{number:02}").write_text(f"content {number}")
    return [Job(tmp_path / f"in/{number:02}", tmp_path / f"out/{number:02}") for number in range(40)]


@pytest.mark.parametrize("workers", [1, 3])
def test_run_bulk_does_each_job_and_a_second_time_none(
    many: list[Job], tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all(many, folder=tmp_path / "out", workers=workers)
    first = capsys.readouterr()
    run_all(many, folder=tmp_path / "out", workers=workers)
    second = capsys.readouterr()

    assert sorted(first.out.splitlines()) == [f"done {job.name}" for job in many]
    assert second.out == ""
    assert second.err == "fastlic: 40 of 40 were finished before\n"
    assert [path.read_text() for path in sorted((tmp_path / "out").glob("[0-9]*"))] == [
        f"content {number}" for number in range(40)
    ]


def test_run_bulk_json_says_what_was_skipped(
    many: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all(many[:1], folder=tmp_path / "out")
    capsys.readouterr()

    run_all(many[:2], folder=tmp_path / "out", as_json=True)

    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record.get("skipped", False) for record in records] == [True, False]


def test_run_bulk_does_missing_results_again_and_keeps_changed_ones(
    many: list[Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all(many, folder=tmp_path / "out")
    (tmp_path / "out/00").unlink()
    (tmp_path / "out/01").write_text("edited by hand")
    (tmp_path / "in/02").write_text("another input")

    with pytest.raises(typer.Exit):
        run_all(many, folder=tmp_path / "out")
    out, err = capsys.readouterr()

    assert out.splitlines()[40:] == [f"done {many[0].name}"]
    assert "fastlic: 37 of 40 were finished before" in err
    assert "fastlic: 2 of 40 failed:" in err
    assert (tmp_path / "out/01").read_text() == "edited by hand"

    run_all(many, folder=tmp_path / "out", force=True)
    assert capsys.readouterr().out.splitlines() == [f"done {many[1].name}", f"done {many[2].name}"]
    assert (tmp_path / "out/02").read_text() == "another input"


def test_run_bulk_with_other_settings_replaces_nothing_unasked(many: list[Job], tmp_path: Path) -> None:
    run_all(many, folder=tmp_path / "out")

    with pytest.raises(typer.Exit):
        run_all(many, folder=tmp_path / "out", settings="another copy")
    run_all(many, folder=tmp_path / "out", settings="another copy", force=True)
    run_all(many, folder=tmp_path / "out", settings="another copy")


def test_run_bulk_removes_what_a_killed_run_left(many: list[Job], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in (".07.0123abcd.part", ".notes.0123abcd.part", "part.part"):
        (tmp_path / "out" / name).write_text("half")

    run_all(many[:8], folder=tmp_path / "out")

    names = {path.name for path in (tmp_path / "out").iterdir()} - {job.target_name[-2:] for job in many}
    assert names == {".fastlic", ".notes.0123abcd.part", "part.part"}  # nothing but its own


@pytest.mark.parametrize("workers", [1, 3])
def test_run_names_the_first_failures_at_the_end(
    many: list[Job], workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for job in many[5:30]:
        job.source.write_text("bad")  # type: ignore[union-attr]

    with pytest.raises(typer.Exit):
        run_all(many, workers=workers)

    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 15
    summary = err.splitlines()[25:]
    assert summary[0] == "fastlic: 25 of 40 failed:"
    assert sum(line.endswith(": PictureError") for line in summary) == 20
    assert summary[-1] == "fastlic:   and 5 more, named above"


def test_run_in_threads_ends_at_an_error_that_is_a_mistake_of_ours(many: list[Job]) -> None:
    done = []

    def broken(job: Job, content: bytes) -> tuple[bytes, dict[str, str]]:
        done.append(job)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Plan(many), broken, settings=str, verb="", line=str, as_json=False, force=False, workers=2)

    assert len(done) <= 8  # those that were taken ahead
