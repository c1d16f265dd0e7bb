"""Build the C library's parser and reader with sanitizers and a fuzzer, and run it.

With clang that is libFuzzer, which looks for inputs that reach new code. Where clang or its runtime is missing, $CXX
and its sanitizers are used, and the inputs are those of the Python mutator.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastlic.kernels.c_api import build

HERE = Path(__file__).parent / "native"
FLAGS = ("-std=c++17", "-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-Wall", "-Wextra")
# A file of the corpus asks for no more than this; an allocation beyond it, or more memory in all, is a finding.
MALLOC_MIB, MEMORY_MIB, SECONDS_EACH, MAX_LENGTH = 64, 512, 2, 8192
INPUTS_PER_SECOND = 3000
CHOICES = (0, 1, 2, 3, 7, 64)  # first bytes of the seeds: which distributions read them


@dataclass(frozen=True)
class Fuzzer:
    """A program that was built; without libFuzzer it only tries the inputs that it is given."""

    program: Path
    has_libfuzzer: bool


def fuzzer(folder: Path, *, libfuzzer: bool = True) -> Fuzzer | None:
    """Build into `folder`, with libFuzzer where wanted and found; None where no compiler has sanitizers."""
    program = folder / "fuzz-parser"
    sources = [*build.sources(), HERE / "parser.cpp"]
    clang, other = shutil.which("clang++"), os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if libfuzzer and clang and _compiles(clang, "fuzzer,address,undefined", sources, program):
        return Fuzzer(program, True)
    if other and _compiles(other, "address,undefined", [*sources, HERE / "standalone.cpp"], program):
        return Fuzzer(program, False)
    return None


def _compiles(compiler: str, sanitizers: str, sources: Iterable[Path], program: Path) -> bool:
    include = [f"-I{path}" for path in build.include_dirs()]
    command = [compiler, *FLAGS, f"-fsanitize={sanitizers}", *include, *map(str, sources), "-o", str(program)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(
    fuzzer: Fuzzer, files: Iterable[bytes], inputs: Iterator[bytes], seconds: float, keep: Path
) -> tuple[str, bool]:
    """Fuzz for some seconds.

    Args:
        fuzzer: what `fuzzer` built.
        files: seeds for libFuzzer.
        inputs: without end, for a program that finds none itself.
        seconds: how long.
        keep: folder for the corpus and for inputs that went wrong.

    Returns:
        What it printed last, and whether nothing was found.
    """
    corpus = keep / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    if fuzzer.has_libfuzzer:
        for (number, data), choice in itertools.product(enumerate(files), CHOICES):
            (corpus / f"seed-{number}-{choice}").write_bytes(bytes([choice]) + data)
        options = [f"-max_total_time={max(1, round(seconds))}", f"-timeout={SECONDS_EACH}", f"-max_len={MAX_LENGTH}"]
        options += [f"-malloc_limit_mb={MALLOC_MIB}", f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={keep}/"]
        return _outcome([str(fuzzer.program), *options, "-print_final_stats=1", str(corpus)])
    pack = corpus / "inputs"
    with pack.open("wb") as file:
        for number, data in enumerate(itertools.islice(inputs, round(INPUTS_PER_SECOND * seconds))):
            file.write((len(data) + 1).to_bytes(4, "little") + bytes([CHOICES[number % len(CHOICES)]]) + data)
    return _outcome([str(fuzzer.program), str(pack)])


def _outcome(command: list[str]) -> tuple[str, bool]:
    limits = f"max_allocation_size_mb={MALLOC_MIB}:detect_leaks=1"
    environment = os.environ | {"ASAN_OPTIONS": limits}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    printed = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    facts = [line for line in printed if line.startswith("stat::") or line.endswith(" inputs")]
    return "\n".join(facts if done.returncode == 0 else printed[-40:]), done.returncode == 0
