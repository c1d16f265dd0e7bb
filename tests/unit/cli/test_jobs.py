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


@pytest.mark.parametrize("name", ["new", "new.d/", "made", "made.d/"])
def test_plan_folder_after_a_folder_takes_the_results_the_first_time_and_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(folder.parent)
    if name.startswith("made"):
        Path(name, ".fastlic").mkdir(parents=True)
        Path(name, "a.lic").write_bytes(b"")

    found = plan(["tree", name], None, reads=READS, writes=WRITES)

    assert found.folder == Path(name)
    assert [job.target for job in found.jobs] == [Path(name, "a.lic"), Path(name, "sub/b.lic")]


@pytest.mark.parametrize("paths", [["a.png", "b.png", "new"], ["a.png", "b.png", "made.d"], ["a.png", "new.d/"]])
def test_plan_folder_after_files_takes_the_results(
    folder: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("made.d").mkdir()

    assert planned(*paths)[0] == Job(Path("a.png"), Path(paths[-1], "a.lic"))


@pytest.mark.parametrize("first", ["tree", "other", "a.png"])
def test_plan_last_folder_with_inputs_is_refused_because_it_may_be_the_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.chdir(folder.parent)

    with pytest.raises(typer.BadParameter, match=r"tree: .* the last input or the output.* -o"):
        planned(first, "tree")


def test_plan_folders_with_inputs_and_an_output_by_option_are_inputs(folder: Path) -> None:
    sources = [job.source for job in planned("c.png", folder, output="out")]

    assert sources == [Path("c.png"), folder / "a.png", folder / "sub/b.JPG"]


@pytest.mark.parametrize("paths", [["a.png", "b.pgn"], ["a.png", "new"], ["tree", "new.d"]])
def test_plan_last_path_that_is_neither_is_refused_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str]
) -> None:
    monkeypatch.chdir(folder.parent)

    with pytest.raises(typer.BadParameter, match=f"{paths[-1]}: there is no such file"):
        planned(*paths)


def test_plan_last_file_that_is_there_is_an_input_whatever_its_suffix(tmp_path: Path) -> None:
    odd = tmp_path / "photo.weird"
    odd.write_bytes(b"")

    assert [job.source for job in planned("a.png", odd)] == [Path("a.png"), odd]
