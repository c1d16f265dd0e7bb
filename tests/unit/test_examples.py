"""examples/*.py, run as their users would; those in C and C++ have tests of their own."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tiny_student

import fastlic
from fastlic.errors import CorruptedStream
from fastlic.runtime import bundle

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def content() -> bytes:
    with fastlic.Encoder(tiny_student.bundle_bytes(), threads=1) as encoder:
        return encoder.encode(tiny_student.picture(64, 64))


def test_asyncio_decodes_several_at_once_and_a_damaged_one_does_not_stop_the_others(content: bytes) -> None:
    damaged = content[:-4] + bytes(4)

    async def run() -> list[np.ndarray | BaseException]:
        with fastlic.Decoder(tiny_student.bundle_bytes(), threads=1) as decoder:
            pictures = example("asyncio_decode").Pictures(decoder, at_once=2)
            files = [content, damaged, content, content]
            return await asyncio.gather(*map(pictures.decode, files), return_exceptions=True)

    first, wrong, *others = asyncio.run(run())

    assert isinstance(wrong, CorruptedStream)
    for picture in others:
        np.testing.assert_array_equal(picture, first)


def test_asyncio_cancellation_stops_the_thread_and_gives_its_turn_back(content: bytes) -> None:
    begun, seen = threading.Event(), threading.Event()

    class Slow:
        def decode(self, data: bytes, *, timeout: float, cancel: threading.Event) -> None:
            begun.set()
            if cancel.wait(20):
                seen.set()

    async def run() -> np.ndarray:
        module = example("asyncio_decode")
        with fastlic.Decoder(tiny_student.bundle_bytes(), threads=1) as decoder:
            pictures = module.Pictures(Slow(), at_once=1)
            task = asyncio.create_task(pictures.decode(content))
            await asyncio.to_thread(begun.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            pictures._decoder = decoder
            return await asyncio.wait_for(pictures.decode(content), 20)

    assert asyncio.run(run()).shape == (64, 64, 3)
    assert seen.wait(20)


@pytest.mark.skipif(not bundle.shipped(), reason="no student is shipped")
def test_asyncio_command_lists_pictures_and_fails_if_one_did(tmp_path: Path) -> None:
    sound, cut = tmp_path / "sound.lic", tmp_path / "cut.lic"
    with fastlic.Encoder(threads=1) as encoder:
        sound.write_bytes(encoder.encode(tiny_student.picture(48, 64)))
    cut.write_bytes(sound.read_bytes()[:-4])

    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "asyncio_decode.py"), str(sound), str(cut)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1, done.stderr
    good, bad = done.stdout.splitlines()
    assert good == f"{sound}: 64x48"
    assert bad.startswith(f"{cut}: tile[0].stream[")
