"""fastlic as one contestant among others: a process that decodes when it is told to, and times itself.

Knows the public API, as an application does; knows nothing of what the times are for.

    {"do": "encode", "bundle": PATH or null, "pictures": [PNG, ...], "folder": PATH}
        ->  {"student": NAME, "files": [{"path", "bytes", "psnr"}, ...]}
    {"do": "prepare", "bundle", "engine", "threads": N or null, "files": [PATH, ...]}
        ->  {"engine", "version", "device", "threads", "detail", "import", "open", "first": SECONDS}
    {"do": "sample", "file": NUMBER, "effort": {...}}  ->  {"wall": [...], "processor": [...], "stages": [{...}, ...]}
    {"do": "decode", "file": NUMBER}                   ->  {"wall": SECONDS, "processor": SECONDS}
    {"do": "serve", "streams", "batch", "effort"}      ->  {"pictures", "pixels", "seconds"}
    {"do": "memory"}                                   ->  {"host": BYTES or null}
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_START = time.perf_counter()

import fastlic  # noqa: E402 - its import is part of what is timed
from fastlic.benchmarks.peers.answers import answer_requests, peak_memory  # noqa: E402
from fastlic.benchmarks.sampling import Effort, collect  # noqa: E402
from fastlic.benchmarks.stages import WHOLE, timed  # noqa: E402

fastlic.Decoder  # noqa: B018 - names are imported when they are asked for
_IMPORTED = time.perf_counter() - _START


class Contestant:
    """A decoder and the files it is asked to decode."""

    def __init__(self) -> None:
        self._decoder: fastlic.Decoder | None = None
        self._files: list[bytes] = []

    def encode(self, bundle: str | None, pictures: Sequence[str], folder: str) -> dict[str, Any]:
        """Write a `.lic` file for each picture, and say how large and how good it is."""
        from fastlic.benchmarks.quality import psnr
        from fastlic.runtime.bundle import Bundle, default
        from fastlic.runtime.pictures import load

        with Bundle(bundle) if bundle else default() as opened:
            name = opened.manifest.name
        found = []
        with fastlic.Encoder(bundle) as encoder, fastlic.Decoder(bundle) as decoder:
            for picture in pictures:
                pixels = load(Path(picture)).pixels
                data = encoder.encode(pixels)
                path = Path(folder) / f"{Path(picture).stem}.lic"
                path.write_bytes(data)
                found.append({"path": str(path), "bytes": len(data), "psnr": psnr(pixels, decoder.decode(data))})
        return {"student": name, "files": found}

    def prepare(self, bundle: str | None, engine: str, threads: int | None, files: Sequence[str]) -> dict[str, Any]:
        """Open the decoder and decode the first file, which loads the graphs: the cold start."""
        self._files = [Path(file).read_bytes() for file in files]
        begun = time.perf_counter()
        decoder = self._decoder = fastlic.Decoder(bundle, engine=engine, threads=threads)
        opened = time.perf_counter()
        decoder.decode(self._files[0])
        decoded = time.perf_counter()
        info = decoder.engine_info
        return {
            "engine": info.name,
            "version": info.version,
            "device": info.device,
            "threads": info.threads,
            "detail": dict(info.detail),
            "import": _IMPORTED,
            "open": opened - begun,
            "first": decoded - opened,
        }

    def sample(self, file: int, effort: dict[str, Any]) -> dict[str, Any]:
        """Decode one file again and again."""
        decoder, data = self._ready(), self._files[file]
        found = collect(lambda: _decode(decoder, data), Effort.of(effort))
        return {
            "wall": [wall for wall, _, _ in found],
            "processor": [processor for _, processor, _ in found],
            "stages": [stages for _, _, stages in found],
        }

    def decode(self, file: int) -> dict[str, Any]:
        """Decode one file once."""
        wall, processor, _ = _decode(self._ready(), self._files[file])
        return {"wall": wall, "processor": processor}

    def serve(self, streams: int, batch: int, effort: dict[str, Any]) -> dict[str, Any]:
        """Decode for throughput: so many callers at once, each handing over so many files at a time."""
        decoder = self._ready()
        wanted = Effort.of(effort)
        files = [self._files[0]] * batch
        header = fastlic.probe(files[0])
        with ThreadPoolExecutor(streams) as callers:

            def together() -> float:
                start = time.perf_counter()
                for done in [callers.submit(decoder.decode_batch, files) for _ in range(streams)]:
                    done.result()
                return time.perf_counter() - start

            rounds = collect(together, wanted)
        made = len(rounds) * streams
        return {"pictures": made * batch, "pixels": made * batch * header.width * header.height, "seconds": sum(rounds)}

    def memory(self) -> dict[str, Any]:
        """The largest resident set so far."""
        return {"host": peak_memory()}

    def _ready(self) -> fastlic.Decoder:
        assert self._decoder is not None, "prepare comes first"
        return self._decoder


def _decode(decoder: fastlic.Decoder, data: bytes) -> tuple[float, float, dict[str, float]]:
    """Wall seconds, processor seconds of all threads, and seconds by stage, until the picture is in host memory."""
    processor = time.process_time()
    stages = timed(decoder, data)
    return stages.pop(WHOLE), time.process_time() - processor, stages


if __name__ == "__main__":
    contestant = Contestant()
    answer_requests(
        {name: getattr(contestant, name) for name in ("encode", "prepare", "sample", "decode", "serve", "memory")}
    )
