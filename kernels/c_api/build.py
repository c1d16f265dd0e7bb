"""Compile the C library from the sources in the package, and lay it out as an installation.

Knows sources, flags and the layout `include/`, `lib/`, `lib/pkgconfig/`; knows nothing of what is in the library.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fastlic.errors import EngineUnavailable

KERNELS = Path(__file__).parents[1]
# The integer core that the native module is made of too, and what makes a C library of it.
SOURCES = ("c_api/c_api.cpp", "c_api/container.cpp", "cpu/pass.cpp", "cpu/reader.cpp", "cpu/tables.cpp")
INCLUDES = ("include", "cpu")
HEADER = "include/fastlic/c_api.h"
FLAGS = ("-std=c++17", "-O3", "-DNDEBUG", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden", "-pthread")
ABI = 1
"""FASTLIC_C_API_VERSION: the number in the library's name. A test compares it with the header."""

_PKG_CONFIG = """prefix={prefix}
libdir=${{prefix}}/lib
includedir=${{prefix}}/include

Name: fastlic
Description: Container and entropy decoder of .lic pictures
Version: {abi}
Libs: -L${{libdir}} -lfastlic
Cflags: -I${{includedir}}
"""

_EXPORTS = "{ global: fastlic_*; local: *; };"


def sources() -> list[Path]:
    """The C++ sources, for another build system than `build`; they need C++17 and `include_dirs`."""
    return [KERNELS / name for name in SOURCES]


def include_dirs() -> list[Path]:
    """Folders that the sources include from."""
    return [KERNELS / name for name in INCLUDES]


def find_compiler() -> list[str]:
    """The words of $CXX, or the first of c++, g++ and clang++.

    Raises:
        EngineUnavailable: there is none, or this is Windows, whose compiler `build` does not know.
    """
    if sys.platform == "win32":
        raise EngineUnavailable("on Windows compile what `python -m fastlic.kernels.c_api sources` lists")
    if asked := os.environ.get("CXX"):
        return shlex.split(asked)
    found = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    if found is None:
        raise EngineUnavailable("no C++ compiler is on the path: install one, or name it in CXX")
    return [found]


def build(folder: Path) -> Path:
    """Compile the library and install it with its header.

    $CXX chooses the compiler, the words of $CXXFLAGS come after its own flags.

    Args:
        folder: prefix of the installation, made if need be; what an earlier build left there is replaced.

    Returns:
        The shared library, `lib/libfastlic.so` or `lib/libfastlic.dylib`.

    Raises:
        EngineUnavailable: there is no compiler, or it fails; the message holds what it said.
    """
    compiler = find_compiler()
    folder = folder.resolve()
    mac = sys.platform == "darwin"
    link = folder / "lib" / ("libfastlic.dylib" if mac else "libfastlic.so")
    library = link.with_name(f"libfastlic.{ABI}.dylib" if mac else f"libfastlic.so.{ABI}")
    name = [f"-Wl,-install_name,@rpath/{library.name}"] if mac else [f"-Wl,-soname,{library.name}"]
    for part in (folder / "include" / "fastlic", folder / "lib" / "pkgconfig"):
        part.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder / "lib", prefix=".building-") as building:
        made = Path(building, library.name)
        include = [f"-I{path}" for path in include_dirs()]
        if not mac:  # templates of the C++ library would be visible too
            script = Path(building, "exports")
            script.write_text(_EXPORTS, encoding="utf-8")
            name.append(f"-Wl,--version-script={script}")
        chosen = [*FLAGS, *shlex.split(os.environ.get("CXXFLAGS", "")), "-DFASTLIC_BUILDING", *include]
        command = [*compiler, *chosen, "-shared", *name, *map(str, sources()), "-o", str(made)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise EngineUnavailable(f"the C library does not compile with {compiler[0]}:\n{done.stderr or done.stdout}")
        made.replace(library)
        made.symlink_to(library.name)
        made.replace(link)
    shutil.copyfile(KERNELS / HEADER, folder / "include" / "fastlic" / "c_api.h")
    text = _PKG_CONFIG.format(prefix=folder, abi=ABI)
    (folder / "lib" / "pkgconfig" / "fastlic.pc").write_text(text, encoding="utf-8")
    return link
