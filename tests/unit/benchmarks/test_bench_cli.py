"""`fastlic bench` from the command line: options, files and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastlic.runtime.cli.app import main

BRIEF = ["--threads", "1", "--count", "1", "--seconds", "0"]


def leave(*arguments: str) -> int:
    try:
        main(["bench", *arguments, *BRIEF])
    except SystemExit as left:
        return int(left.code or 0)
    return 0


def test_bench_writes_json_and_a_page(
    tiny_bundle: Path, tiny_picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jinja2", reason="the page is a template")
    pytest.importorskip("matplotlib", reason="draws")
    files = {name: tmp_path / f"bench.{name}" for name in ("json", "html")}

    code = leave(str(tiny_bundle), str(tiny_picture), *(f"--{name}={path}" for name, path in files.items()))

    assert code == 0
    assert "latency of one picture" in capsys.readouterr().out
    written = json.loads(files["json"].read_text())
    assert written["latencies"][0]["student"] == "tiny-1"
    assert written["host"]["processor"]
    assert files["html"].read_text().startswith("<!doctype html>")


def test_bench_with_something_missing_leaves_with_one_and_shows_the_rest(
    tiny_bundle: Path, tiny_picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = leave(str(tiny_bundle), str(tiny_picture), "absent.png", "--engine", "nonsense", "--engine", "ort-cpu")

    text = capsys.readouterr().out
    assert code == 1
    assert "ort-cpu, 1 thread" in text
    assert "no engine 'nonsense'" in text
    assert "absent.png" in text


def test_bench_warns_beside_a_baseline(
    tiny_bundle: Path, tiny_picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps({"comparison": [{"name": "elic2022", "ratio": {"median": 0.1, "high": 0.1}}]}))

    code = leave(str(tiny_bundle), str(tiny_picture), "--baseline", str(baseline))

    assert code == 0
    assert "elic2022 is in the baseline and was not run now" in capsys.readouterr().err
