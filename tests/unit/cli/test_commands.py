"""The subcommands end to end, on a student that is built in milliseconds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_student
from PIL import Image

import fastlic
from fastlic.runtime import pictures
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.cli import app
from fastlic.runtime.conformance import symbol_crcs

Cli = Callable[..., int]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with what export adds: certificates and a conformance vector."""
    parts = tiny_student.parts()
    with fastlic.Encoder(parts.pack(), threads=1) as encoder:
        data = encoder.encode(tiny_student.picture(40, 70))
    with Bundle(parts.pack()) as plain:
        crcs = symbol_crcs(data, plain)
    parts.members["conformance/0.lic"] = data
    parts.manifest["conformance"] = [{"lic": "conformance/0.lic", "symbol_crc": crcs}]
    parts.manifest["certificates"] = {"hyper": {}, "context": {}}
    path = tmp_path_factory.mktemp("bundle") / "tiny.licb"
    path.write_bytes(parts.pack())
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    pictures.save(path, tiny_student.picture(33, 50), {"xmp": b"<x/>"})
    return path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command line here; returns its exit code."""

    def run(*arguments: object, stdin: bytes = b"") -> int:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stop:
            app.main([str(argument) for argument in arguments])
        return int(stop.value.code or 0)

    return run


def test_encode_at_a_rate_that_the_student_does_not_have_says_which_it_has(
    cli: Cli, bundle: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("encode", photo, "-o", tmp_path / "photo.lic", "-m", bundle, "--rate", 2) == 1

    assert "tiny-1 has one rate only; 2 was asked for" in capsys.readouterr().err
    assert not (tmp_path / "photo.lic").exists()


def test_inspect_tells_rates_and_the_pinned_engine(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    variable = Path(__file__).parents[2] / "conformance" / "golden" / "bgvae-small.licb"

    assert cli("inspect", variable, "--json") == 0

    record = json.loads(capsys.readouterr().out)
    assert record["rates"] == 5
    assert record["pin"].startswith("ort-cpu ")
    assert record["graphs"]["start"].startswith("pinned tile")


def test_encode_inspect_decode_give_the_picture_that_the_library_gives(
    cli: Cli, bundle: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lic, out = photo.with_suffix(".lic"), photo.with_suffix(".out.png")

    assert cli("encode", photo, lic, "-m", bundle, "--threads", 1) == 0
    assert cli("inspect", lic, "-m", bundle) == 0
    assert cli("decode", lic, out, "-m", bundle, "--threads", 1) == 0

    printed = capsys.readouterr().out
    assert f"{photo} -> {lic}  50x33  {lic.stat().st_size} bytes" in printed
    assert "student            tiny-1" in printed
    decoded = pictures.load(out)
    assert decoded.metadata == {"xmp": b"<x/>"}
    with fastlic.Decoder(bundle, threads=1) as decoder:
        np.testing.assert_array_equal(decoded.pixels, decoder.decode(lic.read_bytes()))


def test_standard_input_and_output_carry_pictures_and_files(
    cli: Cli, bundle: Path, photo: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert cli("encode", "-", "-m", bundle, stdin=photo.read_bytes()) == 0
    lic = capfdbinary.readouterr().out
    assert fastlic.probe(lic).width == 50

    assert cli("decode", "-", "-", "--format", "ppm", "-m", bundle, stdin=lic) == 0
    assert pictures.load(capfdbinary.readouterr().out).pixels.shape == (33, 50, 3)


def test_folder_round_trip_keeps_names_and_reports_json(
    cli: Cli, bundle: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in/sub").mkdir(parents=True)
    for name in ("one.png", "sub/two.png"):
        (tmp_path / "in" / name).write_bytes(photo.read_bytes())

    assert cli("encode", tmp_path / "in", tmp_path / "lic", "-m", bundle, "--json") == 0
    assert cli("decode", tmp_path / "lic", tmp_path / "out", "-m", bundle, "--json") == 0

    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["width"] for record in records] == [50] * 4
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")) == [
        "one.png",
        "sub/two.png",
    ]


def test_bulk_runs_in_threads_are_resumed_and_depend_on_the_bundle(
    cli: Cli, bundle: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}.png").write_bytes(photo.read_bytes())
    other = tmp_path / "other.licb"
    other.write_bytes(tiny_student.bundle_bytes(seed=2))
    encode = ("encode", tmp_path / "in", tmp_path / "lic", "--jobs", 2)

    assert cli(*encode, "-m", bundle) == 0
    assert cli("decode", tmp_path / "lic", tmp_path / "out", "--jobs", 2, "-m", bundle) == 0
    (tmp_path / "out/b.png").unlink()
    capsys.readouterr()

    assert cli("decode", tmp_path / "lic", tmp_path / "out", "--jobs", 2, "-m", bundle) == 0
    assert capsys.readouterr().err == "fastlic: 2 of 3 were finished before\n"
    assert (tmp_path / "out/a.png").read_bytes() == (tmp_path / "out/b.png").read_bytes()
    assert cli(*encode, "-m", bundle) == 0
    assert capsys.readouterr().err == "fastlic: 3 of 3 were finished before\n"
    assert cli(*encode, "-m", other) == 1
    assert "a.lic exists. Replace it with --force." in capsys.readouterr().err


def test_encode_transparent_picture_fails_and_leaves_no_file(
    cli: Cli, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "glass.png"
    Image.new("RGBA", (9, 9)).save(path)

    assert cli("encode", path, "-m", bundle) == 1
    assert "transparent pixels" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]

    assert cli("encode", path, "-m", bundle, "--background", "white") == 0


def test_decode_unknown_output_format_is_wrong_usage_before_any_work(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    assert cli("decode", tmp_path / "absent.lic", "-o", tmp_path / "photo.xyz", "-m", bundle) == 2
    assert cli("decode", tmp_path / "absent.lic", "--format", "xyz", "-m", bundle) == 2


def test_decode_to_a_format_without_metadata_says_what_is_lost(
    cli: Cli, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lic = tmp_path / "photo.lic"
    with fastlic.Encoder(bundle, threads=1) as encoder:
        lic.write_bytes(encoder.encode(tiny_student.picture(8, 8), metadata={"xmp": b"<x/>"}))

    assert cli("decode", lic, tmp_path / "photo.ppm", "-m", bundle) == 0

    assert "no room for XMP" in capsys.readouterr().err


def test_inspect_bundle_shows_its_schedule(cli: Cli, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("inspect", bundle) == 0

    assert "code z all (prior), hyper, code y even (anchors), context" in capsys.readouterr().out


def test_verify_good_bundle_exits_with_0(cli: Cli, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli("verify", bundle, "--engine", "ort-cpu", "--threads", 1) == 0

    out = capsys.readouterr().out
    assert f"{bundle}  vectors, ort-cpu, constriction reader: ok\n" in out
    assert "FAILED" not in out


def test_verify_bundle_with_a_false_vector_exits_with_3(
    cli: Cli, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = tiny_student.parts()
    with Bundle(bundle) as good:
        parts.members["conformance/0.lic"] = good.member("conformance/0.lic")
    parts.manifest["conformance"] = [{"lic": "conformance/0.lic", "symbol_crc": [0]}]
    false = tmp_path / "false.licb"
    false.write_bytes(parts.pack())

    assert cli("verify", false, "--engine", "ort-cpu") == 3

    out = capsys.readouterr().out
    assert "other symbol checksums" in out
    assert "certificates: FAILED: none for context, hyper" in out


def test_verify_damaged_file_exits_with_3(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    lic = tmp_path / "photo.lic"
    with fastlic.Encoder(bundle, threads=1) as encoder:
        lic.write_bytes(encoder.encode(tiny_student.picture(20, 20)))

    assert cli("verify", lic, "-m", bundle) == 0
    lic.write_bytes(lic.read_bytes()[:-4])
    assert cli("verify", lic, "-m", bundle) == 3


def test_verify_conformance_decodes_the_golden_files_of_the_package(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("verify", "--conformance", "--engine", "ort-cpu", "--threads", 1) == 0

    lines = capsys.readouterr().out.splitlines()
    assert "golden files  tiny-tiles.lic, ort-cpu, constriction reader: ok" in lines
    assert lines[-1] == "this machine decodes exactly"


def test_verify_conformance_of_an_engine_that_cannot_run_exits_with_3(
    cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("verify", "--conformance", "--engine", "none") == 3

    assert capsys.readouterr().out.splitlines()[-1] == "this machine does NOT decode exactly"


def test_verify_without_paths_or_conformance_is_used_wrongly(cli: Cli) -> None:
    assert cli("verify") == 2


def test_export_without_its_extra_says_how_to_install_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(_: str) -> object:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("fastlic.runtime.cli.export.import_module", absent)

    assert cli("export", tmp_path / "student.pt", "-o", tmp_path / "student.licb") == 1

    assert "pip install 'fastlic[export]'" in capsys.readouterr().err


def test_doctor_reports_engines_as_json(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    cli("doctor", "--threads", 1, "--json")

    rows = {row["item"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["fastlic"]["value"] == fastlic.__version__
    assert rows["engine ort-cpu"]["healthy"] is True


def test_export_of_an_autoregressive_family_says_what_is_supported(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli("export", tmp_path / "student.pt", "--student", "mbt2018", "-o", tmp_path / "student.licb")

    assert code == 1
    message = capsys.readouterr().err
    assert "mbt2018 cannot be exported: its autoregressive context" in message
    assert "Supported: bmshj2018-factorized, " in message
