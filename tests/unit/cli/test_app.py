"""runtime/cli/app.py and the door: what is offered, what is imported for it, and exit codes."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import fastlic
from fastlic.errors import FastlicError, VerificationFailed
from fastlic.runtime.cli import app

HEAVY = ("numpy", "onnxruntime", "torch", "onnx", "PIL", "constriction")


def loaded_by(code: str) -> set[str]:
    """Top-level modules in `sys.modules` of a fresh interpreter after `code`."""
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stderr.split())


def test_import_fastlic_loads_nothing_heavy() -> None:
    loaded = loaded_by("import fastlic")

    assert loaded.isdisjoint({*HEAVY, "typer", "rich", "msgspec"})


@pytest.mark.parametrize("arguments", [["--help"], ["encode", "--help"], ["--version"]])
def test_help_loads_no_codec(arguments: list[str]) -> None:
    loaded = loaded_by(
        "from fastlic.runtime.cli.app import main\n"
        f"try:\n    main({arguments})\nexcept SystemExit as stop:\n    assert not stop.code"
    )

    assert "typer" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_decoder_loads_neither_torch_nor_onnx() -> None:
    loaded = loaded_by("import fastlic\nfastlic.Encoder, fastlic.probe, fastlic.Decoder()")

    assert loaded.isdisjoint({"torch", "onnx", "onnxscript"})


@pytest.mark.parametrize("name", fastlic.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(fastlic, name) is not None
    assert name in dir(fastlic)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'decompress'"):
        fastlic.decompress  # noqa: B018


@pytest.mark.parametrize("name", [name for name, module in app.COMMANDS.items() if ".cli." in module])
def test_every_own_subcommand_is_a_module_with_a_command(name: str) -> None:
    module = importlib.import_module(app.COMMANDS[name])

    assert callable(module.command)
    assert module.command.__doc__


@pytest.mark.parametrize("arguments", [["no-such-command"], ["encode"], ["encode", "--threads", "0", "a.png"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        app.main(arguments)

    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FastlicError("broken\nthing"), 1, "broken thing"),
        (VerificationFailed("graph hyper: 3 differ"), 3, "graph hyper: 3 differ"),
        (MemoryError(), 1, "not enough memory"),
        (FileNotFoundError(2, "No such file or directory", "x.lic"), 1, "x.lic: No such file or directory"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    error: Exception, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(SystemExit) as stop:
        app.main([])

    assert stop.value.code == code
    assert capsys.readouterr().err == f"fastlic: {type(error).__name__}: {message}\n"


def test_a_warning_is_one_line_without_a_place_in_the_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "app", lambda **_: warnings.warn("the slow reader is used", RuntimeWarning, stacklevel=1))

    app.main([])

    assert capsys.readouterr().err == "fastlic: the slow reader is used\n"


def test_a_damaged_file_is_one_line_on_standard_error_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged.lic"
    path.write_bytes(b"\x89LIC\r\n\x1a\n")

    with pytest.raises(SystemExit) as stop:
        app.main(["inspect", str(path)])

    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"fastlic: TruncatedStream: {path}: header needs 48 bytes")
