"""runtime/cli/batch.py: which jobs the arguments mean, and what happens when some of them fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from fastlic.errors import PictureError
from fastlic.runtime.cli.batch import Job, expand, plan, run

READS, WRITES = {".png", ".jpg"}, [".lic"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`tree/a.png`, `tree/sub/b.JPG` and a text file between them."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    for name in ("a.png", "notes.txt", "sub/b.JPG"):
        (tree / name).write_bytes(name.encode())
    return tree


def planned(*paths: object, output: str | None = None) -> list[Job]:
    return plan([str(path) for path in paths], output, reads=READS, writes=WRITES)


def test_plan_without_output_puts_results_beside_their_inputs() -> None:
    assert planned("x/a.png") == [Job(Path("x/a.png"), Path("x/a.lic"))]


@pytest.mark.parametrize("target", ["b.lic", "b.LIC"])
def test_plan_last_path_that_looks_like_an_output_is_one(target: str) -> None:
    assert planned("a.png", target) == [Job(Path("a.png"), Path(target))]


def test_plan_two_inputs_stay_two_inputs() -> None:
    assert planned("a.png", "b.png") == [Job(Path("a.png"), Path("a.lic")), Job(Path("b.png"), Path("b.lic"))]


@pytest.mark.parametrize(
    ("paths", "output", "job"),
    [
        (["-"], None, Job(None, None)),
        (["-", "-"], None, Job(None, None)),
        (["a.png", "-"], None, Job(Path("a.png"), None)),
        (["a.png"], "-", Job(Path("a.png"), None)),
        (["-"], "b.lic", Job(None, Path("b.lic"))),
        (["-", "b.lic"], None, Job(None, Path("b.lic"))),
    ],
)
def test_plan_dash_is_standard_input_or_output(paths: list[str], output: str | None, job: Job) -> None:
    assert planned(*paths, output=output) == [job]


def test_plan_folder_stands_for_the_files_below_it_and_keeps_their_places(folder: Path) -> None:
    jobs = planned(folder, output="out")

    assert jobs == [
        Job(folder / "a.png", Path("out/a.lic")),
        Job(folder / "sub/b.JPG", Path("out/sub/b.lic")),
    ]


def test_plan_existing_folder_as_output_takes_a_single_result(tmp_path: Path) -> None:
    assert planned("a.png", output=str(tmp_path)) == [Job(Path("a.png"), tmp_path / "a.lic")]


def test_plan_folder_without_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=r"no file below this folder ends in \.jpg, \.png"):
        planned(tmp_path)


@pytest.mark.parametrize(("paths", "output"), [(["a.png", "b.png"], "c.lic"), (["a.png", "b.png", "c.lic"], None)])
def test_plan_several_inputs_for_one_file_are_refused(paths: list[str], output: str | None) -> None:
    with pytest.raises(typer.BadParameter, match="2 inputs do not fit"):
        planned(*paths, output=output)


def test_plan_output_that_is_an_input_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="is an input"):
        planned("a.png", output="./a.png")


def test_plan_two_inputs_of_one_name_are_refused() -> None:
    with pytest.raises(typer.BadParameter, match=r"a\.png and a\.jpg would both be written to a\.lic"):
        planned("a.png", "a.jpg")


def test_expand_keeps_a_named_file_whatever_its_suffix() -> None:
    assert list(expand("photo.weird", READS)) == [(Path("photo.weird"), Path("photo.weird"))]


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
