"""benchmarks/peers/environment.py, with stand-ins for pip and for a peer's program: no network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastlic.benchmarks.peers import environment
from fastlic.benchmarks.peers.environment import PeerUnavailable, Worker, compressai_python


def _program(folder: Path, body: str) -> Path:
    script = folder / "peer.py"
    script.write_text(f"import json, sys\n{body}\n")
    return script


def test_worker_answers_each_request(tmp_path: Path) -> None:
    echo = 'for line in sys.stdin: print(json.dumps({"got": json.loads(line)}), flush=True)'

    with Worker(Path(sys.executable), _program(tmp_path, echo)) as worker:
        answers = [worker.ask(decode=0), worker.ask(decode=1)]

    assert answers == [{"got": {"decode": 0}}, {"got": {"decode": 1}}]


def test_worker_that_crashes_gives_its_last_line(tmp_path: Path) -> None:
    script = _program(tmp_path, 'sys.stdin.readline(); raise ImportError("no torch here")')

    with Worker(Path(sys.executable), script) as worker, pytest.raises(PeerUnavailable, match="no torch here"):
        worker.ask(prepare="x")


def test_worker_that_fills_its_error_stream_still_answers(tmp_path: Path) -> None:
    noisy = 'sys.stdin.readline(); sys.stderr.write("x" * 1_000_000); print("{}", flush=True)'

    with Worker(Path(sys.executable), _program(tmp_path, noisy)) as worker:
        assert worker.ask(prepare="x") == {}


def test_environment_that_cannot_be_installed_says_why_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[list[str]] = []

    def failing(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        attempts.append(command)
        return subprocess.CompletedProcess(command, 1, "", "looking\nERROR: no matching distribution")

    monkeypatch.setattr(environment.subprocess, "run", failing)

    for _ in range(2):
        with pytest.raises(PeerUnavailable, match="no matching distribution"):
            compressai_python(tmp_path)

    assert len(attempts) == 2


def test_environment_that_is_complete_is_not_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, "", "")

    def install(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (tmp_path / "compressai-1.2.8").mkdir(exist_ok=True)
        return done

    monkeypatch.setattr(environment.subprocess, "run", install)
    python = compressai_python(tmp_path)
    monkeypatch.setattr(environment.subprocess, "run", None)

    assert compressai_python(tmp_path) == python
