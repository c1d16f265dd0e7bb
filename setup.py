"""Build and install fastlic: the folder `X/` is the import package `fastlic.X`.

Knows where packages, data and native sources lie; what the native module is made of stands in `kernels/build.py`.

Environment:
    FASTLIC_SANITIZE: sanitizers for the native module, for example `address,undefined`; unset builds for speed.
    FASTLIC_REQUIRE_NATIVE: when `1`, a native module that does not build fails the installation. Otherwise it is left
        out with a warning: constriction then reads the streams, to the same symbols but slower, and
        `fastlic doctor` says so.
    FASTLIC_CUDA_ARCHS: compute capabilities such as `80 90`, or `all`: compile the CUDA kernels for them into the
        package, which needs nvcc. Unset leaves them out.
"""

import os
import re
import runpy
import sys
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import find_packages, setup

ROOT = Path(__file__).parent
FOLDERS = ("runtime", "kernels", "export", "benchmarks")
GOLDEN = "tests/conformance/golden"  # installed too: `fastlic verify --conformance` decodes them on the user's machine
REQUIRE_NATIVE = os.environ.get("FASTLIC_REQUIRE_NATIVE") == "1"

# Everything here is imported by fastlic.runtime or fastlic.kernels; torch and onnx never are.
RUNTIME = [
    # Writes streams. It has no wheel for Linux on ARM, where the native module decodes without it.
    "constriction>=0.4.1; sys_platform != 'linux' or platform_machine != 'aarch64'",
    "filelock>=3.12",
    "msgspec>=0.19",
    "numpy>=2.0",
    "onnxruntime>=1.31",  # the first whose CPU engine has DeformConv
    "Pillow>=11.0",
    "platformdirs>=4.0",
    "rich>=13.7",
    "typer>=0.15",
]
RTX = ["tensorrt-rtx-cu13-bindings>=1.7", "tensorrt-rtx-cu13-libs>=1.7"]
EXTRAS = {
    "export": ["onnx>=1.18", "onnx-ir>=1.1", "onnxscript>=0.3", "torch>=2.9"],
    # Of training with `optimiser.method = "soap"`.
    "distill": ["pytorch-optimizer>=4.1"],
    "fuzz": ["atheris>=2.3"],
    # onnx and onnx-ir write graphs in the forms that engines on a GPU take (`fastlic build`).
    "gpu": ["nvidia-ml-py>=12.560", "onnx>=1.18", "onnx-ir>=1.1", "pycuda>=2025.1"],
    "tensorrt": ["onnx>=1.18", "onnx-ir>=1.1", "pycuda>=2025.1", "tensorrt>=10.9"],
    "tensorrt-rtx": ["onnx>=1.18", "onnx-ir>=1.1", "pycuda>=2025.1", *RTX],
    "bench": [
        "bjontegaard>=1.3",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "pytorch-msssim>=1.0",
    ],
    "dev": ["hypothesis>=6.100", "mypy>=1.15", "pybind11>=2.13", "pytest>=8.3", "ruff>=0.9", "setuptools>=77"],
}


def package_dirs() -> dict[str, str]:
    """Import package -> folder, subpackages included."""
    found = {"fastlic": "fastlic", "fastlic.golden": GOLDEN}
    for folder in FOLDERS:
        found[f"fastlic.{folder}"] = folder
        found |= {f"fastlic.{folder}.{name}": f"{folder}/{name.replace('.', '/')}" for name in find_packages(folder)}
    return found


def version() -> str:
    """The one version string, read without importing the package."""
    door = (ROOT / "fastlic" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"', door, re.MULTILINE)
    if match is None:
        raise SystemExit('setup.py: fastlic/__init__.py has no line `__version__ = "..."`')
    return match.group(1)


def native_extension() -> Pybind11Extension:
    """`fastlic.kernels._native`, C++17; optimised, or instrumented when FASTLIC_SANITIZE is set."""
    parts = runpy.run_path(str(ROOT / "kernels" / "build.py"))
    compile_args, link_args = list(parts["COMPILE_ARGS"]), []
    sanitizers = os.environ.get("FASTLIC_SANITIZE")
    if sanitizers:
        flags = [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
        compile_args += [*flags, "-O1", "-g", "-UNDEBUG"]
        link_args += flags
    extension = Pybind11Extension(
        "fastlic.kernels._native",
        sources=sorted(parts["SOURCES"]),
        depends=parts["HEADERS"],
        include_dirs=parts["INCLUDE_DIRS"],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        cxx_std=17,
    )
    extension.optional = not REQUIRE_NATIVE
    return extension


class BuildNative(build_ext):
    """Say in one place, in plain words, what a missing or failing compiler means."""

    def run(self) -> None:
        """Build the native module and, where asked for, the CUDA kernels; these fail the installation."""
        super().run()
        if asked := os.environ.get("FASTLIC_CUDA_ARCHS"):
            sys.path.insert(0, str(ROOT))  # the script raises fastlic.errors
            cuda = runpy.run_path(str(ROOT / "kernels" / "build_cuda.py"))
            cuda["build"](
                ROOT / "kernels/cuda" if self.inplace else Path(self.build_lib, "fastlic/kernels/cuda"), asked
            )

    def build_extension(self, extension: Pybind11Extension) -> None:
        """Build, or warn and go on unless FASTLIC_REQUIRE_NATIVE is 1."""
        try:
            super().build_extension(extension)
        except Exception as cause:
            if REQUIRE_NATIVE:
                raise
            self.warn(
                f"the native module was left out: {cause}\n"
                "  fastlic works without it: the same symbols, decoded more slowly by constriction.\n"
                "  To have it: install a C++17 compiler and install fastlic again "
                "(FASTLIC_REQUIRE_NATIVE=1 turns this warning into an error)."
            )


PACKAGES = package_dirs()

setup(
    name="fastlic",
    version=version(),
    description="Learned image compression in an application: exact on every engine, without PyTorch at run time",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data={
        "fastlic": ["py.typed"],
        "fastlic.benchmarks": ["*.j2"],
        "fastlic.export.distill": ["configs/*.toml"],
        "fastlic.golden": ["*.json", "*.lic", "*.licb", "*.png"],
        # What kernels/c_api/build.py compiles.
        "fastlic.kernels": [f"cpu/{name}.*" for name in ("packed_rows", "parallel", "pass", "reader", "tables")]
        + [f"include/fastlic/{name}.h" for name in ("c_api", "mixture", "range_decoder")],
        "fastlic.kernels.c_api": ["*.cpp", "*.h"],
        "fastlic.runtime": ["probes/*.onnx", "students/*.licb", "students/*.md"],
    },
    include_package_data=False,
    ext_modules=[native_extension()],
    cmdclass={"build_ext": BuildNative},
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["fastlic = fastlic.runtime.cli.app:main"]},
    zip_safe=False,
)
