"""README.md: its commands and its Python run, and print what it says. So does the Python of docs/embedding.md.

Numbers are masked: sizes and times belong to the machine. What needs the network or minutes is not run here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What the installed environment stands in for; and the export, which tests/unit/export runs.
ELSEWHERE = ("pip ", "fastlic export ", "fastlic verify student.licb")
# `make demo` is this, once the environment is there.
DEMO = ["fastlic.benchmarks.demo", "tests/data/kodim23.png", "--output", "demo"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the README is acted out, with its `photo.png`."""
    path = tmp_path_factory.mktemp("readme")
    (path / "tests/data").mkdir(parents=True)
    for name in ("photo.png", "tests/data/kodim23.png"):
        (path / name).write_bytes((ROOT / "tests/data/kodim23.png").read_bytes())
    return path


def blocks(document: str) -> list[tuple[str, str]]:
    """(language, content) of each block that can be run."""
    return BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))


def commands(block: str) -> Iterator[tuple[str, str]]:
    """(command, what is printed below it) of a console block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


def masked(text: str) -> list[str]:
    return [
        re.sub(r"\b[0-9a-f]{16}\b|\d[\d.]*", "#", " ".join(line.split())) for line in text.split("\n") if line.strip()
    ]


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_commands_and_python_run_in_order_and_print_what_it_says(folder: Path) -> None:
    run_here = 0
    for language, block in blocks("README.md"):
        if language == "python":
            run(["-c", block], folder)
            run_here += 1
            continue
        for command, printed in commands(block):
            if not command.startswith(ELSEWHERE):
                words = DEMO if command == "make demo" else command.split()
                assert words[0].startswith("fastlic")
                assert masked(run(["-m", *words], folder)) == masked(printed), command
                run_here += 1
    assert run_here >= 5


@pytest.mark.parametrize("block", [block for _, block in blocks("docs/embedding.md")], ids=map(str, count()))
def test_embedding_python_runs(folder: Path, block: str) -> None:
    if not (folder / "photo.lic").exists():
        run(["-m", "fastlic", "encode", "photo.png", "photo.lic"], folder)

    run(["-c", block], folder)


def test_readme_has_its_first_code_within_fifteen_lines() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()

    assert next(number for number, line in enumerate(lines) if line.startswith("```")) < 15


@pytest.mark.parametrize("document", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))

    assert [target for target in targets if not (document.parent / target).exists()] == []
