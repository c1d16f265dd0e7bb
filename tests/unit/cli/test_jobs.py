"""runtime/cli/jobs.py: which jobs the arguments mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from fastlic.runtime.cli.jobs import Job, expand, plan

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
    return plan([str(path) for path in paths], output, reads=READS, writes=WRITES).jobs


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


@pytest.mark.parametrize(
    ("paths", "output", "bulk"),
    [
        (["tree"], "out", True),
        (["a.png", "b.png"], "out", True),
        (["a.png"], "out/", False),
        (["tree"], None, False),
        (["a.png"], "b.lic", False),
        (["a.png"], "-", False),
    ],
)
def test_plan_several_inputs_into_one_folder_are_a_bulk_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], output: str | None, bulk: bool
) -> None:
    monkeypatch.chdir(folder.parent)

    assert plan(paths, output, reads=READS, writes=WRITES).folder == (Path(str(output)) if bulk else None)
