"""Put together a Python for 64-bit ARM that runs fastlic under `qemu-aarch64`.

    python -m fastlic.benchmarks.emulation.arm64 FOLDER

Needs Debian 12 on any architecture with apt-get, dpkg, pip and the packages `qemu-user` and `g++-aarch64-linux-gnu`;
changes nothing outside FOLDER. Takes Debian's Python, the wheels of fastlic's requirements and fastlic's sources, and
cross-compiles the native module from them.
"""

from __future__ import annotations

import argparse
import runpy
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PYTHON = "python3.11"  # Debian 12's
PACKAGES = (
    PYTHON,
    f"{PYTHON}-minimal",
    f"lib{PYTHON}-dev",
    f"lib{PYTHON}-minimal",
    f"lib{PYTHON}-stdlib",
    *("libbz2-1.0", "libc6", "libcrypt1", "libexpat1", "libffi8", "libgcc-s1", "liblzma5", "libssl3", "libstdc++6"),
    *("libuuid1", "zlib1g"),
)
# What decoding imports; constriction, which only encoding needs, has no wheel for ARM Linux.
WHEELS = ("filelock", "msgspec", "numpy", "onnxruntime", "pillow", "platformdirs")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")

# ONNX Runtime reads the cores from /proc/cpuinfo. QEMU passes the host's, which has no ARM fields, and it crashes; but
# QEMU looks for absolute paths in the emulated root first.
CPUINFO = """processor\t: 0
BogoMIPS\t: 100.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""


def command(folder: Path, cpu: str) -> list[str]:
    """How to run the folder's Python on an emulated processor."""
    root = folder / "root"
    return ["qemu-aarch64", "-cpu", cpu, "-L", str(root), str(root / "usr" / "bin" / PYTHON)]


def environment(folder: Path) -> Mapping[str, str]:
    """Variables that the folder's Python needs."""
    return {"PYTHONPATH": f"{folder / 'app'}:{folder / 'site'}", "OPENBLAS_NUM_THREADS": "1"}


def is_ready(folder: Path) -> bool:
    """Whether `prepare` has finished in this folder."""
    return (folder / "ready").exists()


def prepare(folder: Path) -> None:
    """Fill an empty or absent folder.

    Raises:
        subprocess.CalledProcessError: a package, a wheel or the compiler failed; its own message is on standard error.
    """
    root, site, packages = folder / "root", folder / "site", folder / "packages"
    (folder / "lists" / "partial").mkdir(parents=True)
    packages.mkdir()
    apt = [
        *("apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"),
        *("-o", f"Dir::State::Lists={folder / 'lists'}"),
    ]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", *PACKAGES], cwd=packages, check=True)
    for package in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
    (root / "proc").mkdir()
    (root / "proc" / "cpuinfo").write_text(CPUINFO)
    platforms = [item for name in PLATFORMS for item in ("--platform", f"{name}_aarch64")]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", *platforms]
    subprocess.run(
        [*pip, "--python-version", PYTHON.removeprefix("python"), "--dest", str(packages), *WHEELS], check=True
    )
    for wheel in packages.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)
    refresh(folder)
    (folder / "ready").touch()


def refresh(folder: Path) -> None:
    """Take fastlic's sources as they are now, and compile the native module for ARM."""
    import pybind11

    app, root = folder / "app" / "fastlic", folder / "root"
    shutil.rmtree(app, ignore_errors=True)
    shutil.copytree(REPOSITORY / "fastlic", app)
    for package in ("kernels", "runtime"):
        shutil.copytree(REPOSITORY / package, app / package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    parts = runpy.run_path(str(REPOSITORY / "kernels" / "build.py"))
    includes = [*parts["INCLUDE_DIRS"], pybind11.get_include(), root / "usr/include", root / f"usr/include/{PYTHON}"]
    compiler = ["aarch64-linux-gnu-g++", "-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden"]
    output = ["-o", str(app / "kernels" / "_native.so")]
    flags = [*parts["COMPILE_ARGS"], *(f"-I{include}" for include in includes)]
    subprocess.run([*compiler, *flags, *parts["SOURCES"], *output], cwd=REPOSITORY, check=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    if is_ready(folder):
        refresh(folder)
    else:
        prepare(folder)


if __name__ == "__main__":
    main()
