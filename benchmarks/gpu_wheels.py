"""Collect what `make gpu-check` needs on a machine that has a GPU but no network: `make gpu-wheels`.

The other machine's Python is expected to have PyTorch for CUDA, NumPy and ONNX; what such environments usually lack is
fetched as wheels, for a Python of the same version, which must be here. pycuda is published as source and is compiled
here: that takes CUDA's headers, but neither a driver nor a GPU, since only the name of the driver's library is linked.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from fastlic.kernels.build_cuda import find_nvcc

FETCHED = ("constriction", "mako", "msgspec", "onnx-ir", "onnxruntime", "platformdirs", "pytools", "siphash24")
COMPILED = "pycuda"
BUILD_TOOLS = ("setuptools", "wheel", "numpy")
_DRIVER = "libcuda.so.1"


def collect(python: str, folder: Path, names: Sequence[str] = FETCHED) -> list[Path]:
    """Fetch and compile wheels.

    Args:
        python: an interpreter of the version that they are for.
        folder: where they go; made where it is missing. Wheels of other versions that it holds stay.
        names: to fetch, without what they depend on.

    Returns:
        The wheels in the folder.

    Raises:
        EngineUnavailable: there is no nvcc.
        subprocess.CalledProcessError: pip or the compiler fails; what they say has been printed.
        RuntimeError: pycuda was linked without the driver's library.
    """
    toolkit = toolkit_of(Path(find_nvcc()))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        _run([python, "-m", "venv", str(home / "venv")])
        pip = [str(home / "venv/bin/python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "install", *BUILD_TOOLS])
        if names:
            _run([*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), *names])
        write_settings(home, toolkit)
        build = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--no-binary", COMPILED]
        _run([*pip, "wheel", *build, "--wheel-dir", str(folder), COMPILED], HOME=str(home))
    wheels = sorted(folder.glob("*.whl"))
    for wheel in wheels:
        if wheel.name.startswith(f"{COMPILED}-") and not names_driver(wheel):
            raise RuntimeError(
                f"{wheel} does not ask for {_DRIVER}: its linker left it out. Try another compiler (CC)."
            )
    return wheels


def names_driver(wheel: Path) -> bool:
    """Whether the extension module in a wheel of pycuda loads the driver's library."""
    with zipfile.ZipFile(wheel) as archive:
        (module,) = (name for name in archive.namelist() if name.startswith("pycuda/_driver."))
        return _DRIVER.encode() in archive.read(module)


def toolkit_of(nvcc: Path) -> Path:
    """The folder of the CUDA toolkit, which holds `include/cuda.h`, as nvcc itself names it.

    Raises:
        subprocess.CalledProcessError: nvcc does not run.
        FileNotFoundError: the toolkit has no `cuda.h`.
    """
    done = subprocess.run([nvcc, "--dryrun", "x.cu"], capture_output=True, text=True, check=True)
    top = next(line.partition("=")[2] for line in done.stderr.splitlines() if line.startswith("#$ TOP="))
    found = Path(top).resolve()
    if not (found / "include/cuda.h").exists():
        raise FileNotFoundError(f"{found / 'include/cuda.h'} is missing: install the headers of the CUDA toolkit")
    return found


def write_settings(home: Path, toolkit: Path) -> None:
    """Write what pycuda's `setup.py` reads from a home folder, and a stand-in for the driver's library to link with.

    Without curand, which nothing here uses and small toolkits lack. The stand-in defines nothing, so a linker would
    leave it out as not needed.
    """
    settings = {
        "CUDA_ROOT": str(toolkit),
        "CUDA_ENABLE_CURAND": False,
        "CUDADRV_LIB_DIR": [str(home)],
        "LDFLAGS": ["-Wl,--no-as-needed", f"-L{home}", "-lcuda"],
    }
    (home / ".aksetup-defaults.py").write_text("".join(f"{name} = {value!r}\n" for name, value in settings.items()))
    source = home / "driver.c"
    source.write_text("")
    compiler = os.environ.get("CC", "cc")
    _run([compiler, "-shared", "-fPIC", f"-Wl,-soname,{_DRIVER}", str(source), "-o", str(home / "libcuda.so")])


def _run(command: Sequence[str], **environment: str) -> None:
    subprocess.run(command, env={**os.environ, **environment}, check=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=sys.executable, help="of the version that the machine with the GPU has")
    parser.add_argument("--fetch", nargs="*", default=FETCHED, metavar="NAME", help="these instead of the usual ones")
    options = parser.parse_args()
    total = 0
    for wheel in collect(options.python, options.folder, options.fetch):
        total += wheel.stat().st_size
        print(f"{wheel.stat().st_size / 1e6:7.1f} MB  {wheel.name}")
    print(f"{total / 1e6:7.1f} MB in {options.folder}")


if __name__ == "__main__":
    main()
