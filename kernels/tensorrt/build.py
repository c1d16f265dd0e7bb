"""Compile the plugin library, for applications and `trtexec --dynamicPlugins`.

    python -m fastlic.kernels.tensorrt.build --include /opt/tensorrt/include --output libfastlic_tensorrt.so

Knows sources and flags; knows nothing of what is in them. Needs nvcc and the headers of TensorRT, not its libraries.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fastlic.errors import EngineUnavailable
from fastlic.kernels.build_cuda import ARCHITECTURES, architectures_of, find_nvcc

HERE = Path(__file__).parent
SOURCES = (
    HERE / "deform_plugin.cpp",
    HERE / "deform_kernels.cu",
    HERE.parent / "cuda" / "deform_conv2d.cu",
    HERE.parent / "cuda" / "deform_conv2d_f32.cu",
)
# TensorRT's own headers deprecate what they still declare.
FLAGS = (
    "-std=c++17",
    "-O3",
    "-shared",
    "-Xcompiler",
    "-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Wno-deprecated-declarations",
)


def build(include: Path, output: Path, architectures: Sequence[int] = ARCHITECTURES) -> Path:
    """Compile the library.

    Args:
        include: folder with NvInferRuntime.h.
        output: the library to write.
        architectures: compute capabilities as two or three digits.

    Raises:
        EngineUnavailable: this is an installed package, there is no nvcc, the headers are not there, or a
            source does not compile.
    """
    if missing := [source.name for source in SOURCES if not source.exists()]:
        raise EngineUnavailable(f"{', '.join(missing)} are not here: compile the plugin from fastlic's source tree")
    nvcc = find_nvcc()
    if not (include / "NvInferRuntime.h").exists():
        raise EngineUnavailable(f"there is no NvInferRuntime.h in {include}: name the folder of TensorRT's headers")
    targets = [word for a in architectures for word in ("-gencode", f"arch=compute_{a},code=sm_{a}")]
    folders = [f"-I{folder}" for folder in (include, HERE, HERE.parent / "include", HERE.parent / "cuda")]
    command = [nvcc, *FLAGS, *targets, *folders, *map(str, SOURCES), "-o", str(output)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise EngineUnavailable(f"the plugin library does not compile with {nvcc}:\n{done.stderr or done.stdout}")
    return output


def main() -> None:
    """Compile the library into the file named."""
    parser = argparse.ArgumentParser(description="Compile fastlic's TensorRT plugin library.")
    parser.add_argument("--include", type=Path, required=True, help="folder of TensorRT's headers")
    parser.add_argument("--output", type=Path, default=Path("libfastlic_tensorrt.so"))
    parser.add_argument("--architectures", default="all", help="compute capabilities such as `80 90`; default: all")
    options = parser.parse_args()
    print(build(options.include, options.output, architectures_of(options.architectures)))


if __name__ == "__main__":
    main()
