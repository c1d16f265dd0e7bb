"""What a user sees of hostile input: one sentence, exit code 1, and no file where there was none."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_student
from hostile.forgery import Forgery
from PIL import Image

from fastlic.runtime.bundle import Bundle
from fastlic.runtime.cli import app

Cli = Callable[..., int]
GIGABYTE = 2**30


@pytest.fixture
def folder(tmp_path: Path, bundle_bytes: bytes, small_file: bytes) -> Path:
    """A folder with a student, a good file and bad ones."""
    with Bundle(bundle_bytes) as bundle:
        fingerprint = bundle.fingerprint
    (tmp_path / "tiny.licb").write_bytes(bundle_bytes)
    files = tmp_path / "files"
    files.mkdir()
    (files / "good.lic").write_bytes(small_file)
    (files / "cut.lic").write_bytes(small_file[:-1])
    (files / "empty.lic").write_bytes(b"")
    (files / "flipped.lic").write_bytes(small_file[:-1] + bytes([small_file[-1] ^ 1]))
    (files / "foreign.lic").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (files / "huge.lic").write_bytes(Forgery(fingerprint, width=2**31, height=2**31).pack())
    (files / "other.lic").write_bytes(Forgery(b"another!").pack())
    return tmp_path


@pytest.fixture
def cli() -> Cli:
    """Run the command line here; returns its exit code."""

    def run(*arguments: object) -> int:
        with pytest.raises(SystemExit) as stop:
            app.main([str(argument) for argument in arguments])
        return int(stop.value.code or 0)

    return run


def test_decode_of_a_folder_does_the_good_file_and_names_each_bad_one(
    cli: Cli, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli("decode", folder / "files", "-o", folder / "out", "-m", folder / "tiny.licb", "--threads", 1)

    assert code == 1
    assert [path.name for path in (folder / "out").glob("[!.]*")] == ["good.png"]
    errors = capsys.readouterr().err
    for name, message in {
        "cut": "The file is incomplete",
        "empty": "not a .lic file",
        "flipped": "stream 1",
        "foreign": "not a .lic file",
        "huge": "exceeds the limit",
        "other": "fingerprint",
    }.items():
        line, _summary = [line for line in errors.splitlines() if f"{name}.lic" in line]
        assert message in line
    assert "Traceback" not in errors


@pytest.mark.parametrize("name", ["cut", "empty", "flipped", "foreign", "huge", "other"])
def test_decode_of_a_bad_file_leaves_an_existing_picture_alone(cli: Cli, folder: Path, name: str) -> None:
    target = folder / "picture.png"
    target.write_bytes(b"mine")

    code = cli("decode", folder / "files" / f"{name}.lic", target, "-m", folder / "tiny.licb", "--force")

    assert code == 1
    assert target.read_bytes() == b"mine"
    assert sorted(path.name for path in folder.iterdir()) == ["files", "picture.png", "tiny.licb"]


@pytest.mark.parametrize(("command", "source", "target"), [("encode", "p.png", "o.lic"), ("decode", "g.lic", "o.png")])
def test_damaged_bundle_is_one_sentence(
    cli: Cli, tmp_path: Path, command: str, source: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.licb"
    broken.write_bytes(tiny_student.bundle_bytes()[:-30])
    Image.fromarray(tiny_student.picture(8, 8)).save(tmp_path / "p.png")

    assert cli(command, tmp_path / source, tmp_path / target, "-m", broken) == 1

    assert capsys.readouterr().err.count("broken.licb: not a bundle") == 1
    assert not (tmp_path / target).exists()


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer itself reserves terabytes")
@pytest.mark.parametrize("name", ["huge", "cut", "foreign"])
def test_decode_of_a_bad_file_needs_no_memory(folder: Path, name: str) -> None:
    """In a process that may not have 4 GB of addresses, of which the libraries take most."""
    command = [sys.executable, "-m", "fastlic", "decode", str(folder / "files" / f"{name}.lic"), str(folder / "o.png")]
    done = subprocess.run(
        [*command, "-m", str(folder / "tiny.licb"), "--threads", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * GIGABYTE, 4 * GIGABYTE)),
    )

    assert done.returncode == 1
    assert f"{name}.lic" in done.stderr
    assert "Traceback" not in done.stderr
