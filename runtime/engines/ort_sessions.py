"""What every ONNX Runtime engine of ours shares: finding the library, session options, and its errors in our words.

Knows ONNX Runtime's options and what they cost; knows nothing of providers' own options.
The measurements behind the settings stand in docs/performance.md, "ONNX Runtime settings".
"""

from __future__ import annotations

import importlib
import mmap
import os
from typing import Any

from fastlic.errors import EngineUnavailable

MINIMUM_VERSION = (1, 31)
"""The first ONNX Runtime whose CPU provider has DeformConv."""

HEADROOM = 16 * 2**20
"""Bytes of address space that a graph wants to be there before it is loaded or run; docs/embedding.md has the sweep."""

TELEMETRY_SWITCH = "ORT_DISABLE_TELEMETRY"
"""Environment variable that ONNX Runtime reads once, when it is imported."""

LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}

_FATAL = 4  # log severity. What is an error is raised; the same text on stderr, and warnings about graphs, are noise.

_CONFIG = {
    # Weights lie in the bundle, under its hashes. A graph that names a file outside finds none: /dev/null is no folder.
    "session.model_external_initializers_file_folder_path": os.devnull,
    # Each session has its own pool. With spinning, the idle pools of the other graphs take the cores from the one
    # that runs, and from the entropy decoder. One pool shared by all graphs can only be had for the whole process, and
    # then no session of the application may have its own.
    "session.intra_op.allow_spinning": "0",
    "session.inter_op.allow_spinning": "0",
    # Off is the default of all of these, and is part of the contract: they let a kernel round differently.
    "mlas.enable_gemm_fastmath_arm64_bfloat16": "0",
    "mlas.use_lut_gemm": "0",
    "optimization.enable_gelu_approximation": "0",
    "session.set_denormal_as_zero": "0",
}


def import_onnxruntime() -> Any:
    """The module, which reports nothing to its maker: a decoder of strangers' files opens no connections.

    Official builds report their use over the network, and keep a database in the user's cache for it, unless the
    environment forbids it before the first import in a process. A user's own setting stays.

    Raises:
        EngineUnavailable: it is not installed, too old, or has no CPU provider.
    """
    os.environ.setdefault(TELEMETRY_SWITCH, "1")
    try:
        ort = importlib.import_module("onnxruntime")
        version = tuple(int(part) for part in ort.__version__.split(".")[:2])
        providers = ort.get_available_providers()
    except ImportError as error:
        raise EngineUnavailable(
            f"onnxruntime cannot be imported: {error}. Install it: pip install 'onnxruntime>=1.31'."
        ) from error
    if version < MINIMUM_VERSION:
        raise EngineUnavailable(
            f"onnxruntime {ort.__version__} has no DeformConv on the CPU. Update it: pip install 'onnxruntime>=1.31'."
        )
    if "CPUExecutionProvider" not in providers:
        raise EngineUnavailable(
            f"this onnxruntime has no CPU provider, only {', '.join(providers)}. Install the usual one."
        )
    return ort


def session_options(ort: Any, threads: int, optimisation: str) -> Any:
    """Options of a session.

    Args:
        ort: the module.
        threads: of the session on the CPU.
        optimisation: a key of `LEVELS`.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, LEVELS[optimisation])
    options.log_severity_level = _FATAL
    # The arena keeps pages from one picture to the next: without it, or with shrinkage after each run, a synthesis
    # takes a quarter more processor time to fault them in again.
    options.enable_cpu_mem_arena = True
    # A memory pattern is kept for every shape ever met, which grows without bound where pictures have many sizes,
    # and saves no time.
    options.enable_mem_pattern = False
    for key, value in _CONFIG.items():
        options.add_session_config_entry(key, value)
    return options


def require_headroom(name: str) -> None:
    """Raise `MemoryError` where not even `HEADROOM` bytes can be had.

    ONNX Runtime tells of a large buffer that it cannot get; where it cannot get small ones, it aborts the process. The
    pages are asked for and never touched, 10 microseconds; malloc, which they would teach another threshold, is not.

    Args:
        name: of the graph, for the message.
    """
    try:
        mmap.mmap(-1, HEADROOM).close()
    except OSError:
        raise MemoryError(f"graph {name}: less than {HEADROOM >> 20} MiB of memory are left") from None


def message_of(error: Exception) -> str:
    """ONNX Runtime's message without its prefix and line breaks, as a sentence."""
    text = " ".join(str(error).split()).removeprefix("[ONNXRuntimeError] : ")
    return text if text.endswith(".") else text + "."


def is_out_of_memory(error: Exception) -> bool:
    """Whether the cause is a lack of memory, of which the binding has no class of its own."""
    text = str(error).lower()
    return any(words in text for words in ("allocate memory", "bad_alloc", "out of memory"))
