"""Where engines are kept: under the user's cache, each under the key of all that it depends on.

Knows keys and files; knows nothing of TensorRT. An engine is native code, so it is never taken from elsewhere: a file
must carry its own hash (`runtime/cache.py`) and its whole key, or it is built again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from fastlic.runtime.cache import Cache, default_folder


@dataclass(frozen=True)
class Key:
    """All that an engine depends on.

    Attributes:
        graph: of the form, `forms.graph_hash`.
        name: of the graph.
        form: `Form.name`.
        engine: "tensorrt" or "tensorrt-rtx".
        version: of the library.
        capability: of the GPU, such as "8.9".
        gpu: its name.
        shapes: of the inputs.
    """

    graph: str
    name: str
    form: str
    engine: str
    version: str
    capability: str
    gpu: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def text(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @property
    def file(self) -> str:
        """Name of the engine's file."""
        return f"{self.name}-{hashlib.sha256(self.text).hexdigest()[:32]}.engine"

    @property
    def timing_file(self) -> str:
        """Name of the file of timings, which all engines of a version and a GPU share."""
        device = json.dumps([self.engine, self.version, self.capability, self.gpu]).encode()
        return f"timings-{hashlib.sha256(device).hexdigest()[:32]}"


class EngineStore:
    """The engines of a user.

    Args:
        folder: None takes the user's cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._files = Cache((folder or default_folder()) / "engines")

    def find(self, key: Key) -> bytes | None:
        """A serialised engine, or None when there is none that can be trusted."""
        return _behind_key(key, self._files.read(key.file))

    def obtain(self, key: Key, build: Callable[[], bytes]) -> bytes:
        """A serialised engine, built by one process at a time when there is none that can be trusted."""
        stored = self._files.obtain(key.file, lambda: key.text + b"\n" + build())
        found = _behind_key(key, stored)
        if found is None:  # a file of another key under this name: somebody renamed it
            found = build()
            self._files.write(key.file, key.text + b"\n" + found)
        return found

    def damaged(self, key: Key) -> bool:
        """Whether there is a file for this engine that cannot be trusted."""
        return self._files.path(key.file).exists() and self.find(key) is None

    def timings(self, key: Key) -> bytes:
        """What earlier builds learnt about timings; nothing when there were none."""
        return self._files.read(key.timing_file) or b""

    def keep_timings(self, key: Key, timings: bytes | None) -> None:
        """Keep what a build learnt, for the next."""
        if timings:
            self._files.write(key.timing_file, timings)

    def finished(self, key: Key) -> bytes:
        """What the device has compiled of an engine that is finished on it; nothing before the first time."""
        return self._files.read(f"{key.file}.finished") or b""

    def keep_finished(self, key: Key, compiled: bytes) -> None:
        """Keep it."""
        self._files.write(f"{key.file}.finished", compiled)


def _behind_key(key: Key, stored: bytes | None) -> bytes | None:
    head = key.text + b"\n"
    return stored[len(head) :] if stored is not None and stored.startswith(head) else None
