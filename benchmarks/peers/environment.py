"""Make and keep the environments that peers run in, so that none of their requirements touches fastlic's.

Knows pip and the user's cache folder; knows nothing of what a peer measures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import platformdirs
from filelock import FileLock

# Without its dependencies, because these name torchvision, which the codecs do not use; the rest follows by name.
_COMPRESSAI = "compressai==1.2.8"
_COMPRESSAI_NEEDS = (
    "torch==2.13.0",
    "numpy<2",
    "scipy",
    "einops",
    "matplotlib",
    "pandas",
    "pillow",
    "pytorch-msssim",
    "requests",
    "tomli",
    "torch-geometric",
    "tqdm",
)


class PeerUnavailable(Exception):
    """A peer cannot be installed or does not answer; its row is reported as such."""


def compressai_python(cache: Path | None = None) -> Path:
    """The Python of an environment with CompressAI, made on first use.

    Args:
        cache: folder of all peers' environments; None: the user's cache.

    Raises:
        PeerUnavailable: pip failed; the message ends with its last line.
    """
    folder = (cache or Path(platformdirs.user_cache_dir("fastlic")) / "peers") / "compressai-1.2.8"
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    complete = folder / "complete"
    with FileLock(f"{folder}.lock"):
        if not complete.exists():
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, *_COMPRESSAI_NEEDS])
            _run([*pip, "--no-deps", _COMPRESSAI])
            complete.touch()
    return python


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise PeerUnavailable(f"{' '.join(command[:4])} ... failed: {last}")


def _without_class(line: str) -> str:
    """The last line of a traceback without the name of the exception's class."""
    name, colon, message = line.partition(": ")
    return message if colon and name.replace(".", "").replace("_", "").isalnum() else line


class Worker:
    """A peer's process that answers one JSON line for each it is sent.

    Args:
        python: interpreter of the peer's environment.
        script: program to run with it.

    Raises:
        PeerUnavailable: the process ends or answers with something else.
    """

    def __init__(self, python: Path, script: Path) -> None:
        self._script = script
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe that nobody reads would fill up
        self._process = subprocess.Popen(
            [str(python), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    @property
    def process(self) -> int:
        """Its number, by which its memory can be followed."""
        return self._process.pid

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self._process.kill()
            self._process.communicate()
            self._errors.seek(0)
            last = (self._errors.read().strip() or "no message").splitlines()[-1]
            raise PeerUnavailable(f"{self._script.stem} stopped: {_without_class(last)}") from None
        if not isinstance(answer, dict):
            raise PeerUnavailable(f"{self._script.name} answered {answer!r}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
