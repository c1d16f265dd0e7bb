"""setup.py and the layout: who imports whom, what is required, what is installed."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import fastlic

ROOT = Path(__file__).parents[2]
ORDER = ("kernels", "runtime", "export", "benchmarks")
"""Each may import those before it and itself."""

# Distribution -> import name, where they differ.
IMPORT_NAMES = {"pillow": "PIL"}
# The torch engine is an oracle for development: it imports these when it is made, and says so where they are absent.
ORACLE = {"torch", "onnx"}
# Engines on a GPU do the same with these.
GPU = {"pycuda", "tensorrt"}


def installed() -> metadata.Distribution:
    """What pip installed; an .egg-info that some build left in the working directory is older."""
    return next(found for found in metadata.distributions(name="fastlic") if found.read_text("RECORD"))


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path, *, top_level: bool = False, by_name: bool = False) -> Iterator[str]:
    """Absolute names of imported modules, with those imported for type checkers left out.

    Args:
        top_level: only what importing the module imports.
        by_name: also what `import_module` is called with.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        or (top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif by_name and isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (word.value for word in node.args if isinstance(word, ast.Constant))


def packages(path: Path) -> set[str]:
    """Top-level folders of fastlic that a source imports from."""
    names = [name.split(".") for name in imports(path)]
    return {parts[1] for parts in names if parts[0] == "fastlic" and len(parts) > 1} & set(ORDER)


@pytest.mark.parametrize("folder", ORDER)
def test_imports_go_one_way(folder: str) -> None:
    allowed = set(ORDER[: ORDER.index(folder) + 1])

    wrong = {str(path): packages(path) - allowed for path in sources(folder)}

    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize("folder", ["fastlic", "kernels", "runtime"])
def test_runtime_imports_no_torch_at_module_level(folder: str) -> None:
    for path in sources(folder):
        assert {name.partition(".")[0] for name in imports(path, top_level=True)}.isdisjoint(
            {"torch", "onnx", "onnxscript"}
        ), path


def test_onnxruntime_is_imported_only_where_it_is_kept_from_reporting() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ORDER
        for path in sources(folder)
        if any(name.partition(".")[0] == "onnxruntime" for name in imports(path, by_name=True))
    }

    assert found == {"runtime/engines/ort_sessions.py"}


def test_base_requirements_are_what_the_runtime_imports() -> None:
    required = {
        re.split(r"[^\w-]", line, maxsplit=1)[0].lower()
        for line in installed().requires or ()
        if "extra ==" not in line
    }
    imported = {
        name.partition(".")[0]
        for folder in ("fastlic", "kernels", "runtime")
        for path in sources(folder)
        if path.name != "build.py"
        for name in imports(path, by_name=True)
    }

    third_party = imported - set(sys.stdlib_module_names) - {"fastlic"} - ORACLE - GPU
    assert third_party == {IMPORT_NAMES.get(name, name) for name in required}


@pytest.mark.parametrize(
    ("system", "machine", "needed"),
    [("linux", "x86_64", True), ("darwin", "arm64", True), ("win32", "AMD64", True), ("linux", "aarch64", False)],
)
def test_constriction_is_required_only_where_it_has_wheels(system: str, machine: str, needed: bool) -> None:
    (line,) = [line for line in installed().requires or () if line.startswith("constriction")]
    marker = Requirement(line).marker

    assert marker is not None
    assert marker.evaluate({"sys_platform": system, "platform_machine": machine}) is needed


def test_every_folder_with_sources_is_a_package() -> None:
    folders = {path.parent for folder in ORDER for path in sources(folder)}

    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_installed_version_and_command_are_the_sources_own() -> None:
    commands = {entry.name: entry.value for entry in installed().entry_points}

    assert installed().version == fastlic.__version__
    assert commands == {"fastlic": "fastlic.runtime.cli.app:main"}


@pytest.mark.parametrize("folder", ORDER)
def test_a_top_level_folder_refuses_to_be_imported_under_its_bare_name(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))

    with pytest.raises(ImportError, match=f"fastlic.{folder}"):
        __import__(folder)
