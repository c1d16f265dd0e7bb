"""Files decoded on the GPU, by each engine that runs here: every symbol equal, by the files' own checksums.

FASTLIC_KODAK names a folder of PNG photographs that are encoded on the CPU and decoded here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastlic.errors import EngineUnavailable
from fastlic.kernels.cuda.driver import Device
from fastlic.runtime import engines
from fastlic.runtime.codec import Decoder, Encoder

GOLDEN = Path(__file__).parents[1] / "conformance" / "golden"
DEFORMABLE = Path(__file__).parents[2] / "zoo/fu2023-n64-m128-l0075-2.licb"
FILES = json.loads((GOLDEN / "golden.json").read_text())
KODAK = sorted(Path(os.environ["FASTLIC_KODAK"]).glob("*.png")) if os.environ.get("FASTLIC_KODAK") else []
Open = Callable[[Path | None], Decoder]
ENGINES: dict[str, dict[str, Any]] = {
    "torch": {},
    "torch-without-our-kernels": {"kernels": False},
    "torch-f16": {"precision": "f16"},
    "ort-cuda": {},
    "ort-cuda-f16": {"precision": "f16"},
    "tensorrt": {},
}


@pytest.fixture(params=ENGINES, ids=str)
def open_decoder(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Makes decoders by a bundle's path, with one engine after the other."""
    name = request.param.split("-without")[0].removesuffix("-f16")
    with ExitStack() as stack:

        def make(bundle: Path | None) -> Decoder:
            with _skipping():
                engine = engines.create(name, device=0, **ENGINES[request.param])
                return stack.enter_context(Decoder(bundle, engine=engine))

        yield make


def decoded(decoder: Decoder, data: bytes) -> np.ndarray:
    """The picture; skipped where the engine says that it cannot run this student here."""
    with _skipping():
        return decoder.decode(data)


@contextmanager
def _skipping() -> Iterator[None]:
    try:
        yield
    except EngineUnavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("entry", FILES, ids=lambda entry: entry["file"])
def test_golden_file_has_its_symbols_and_picture(open_decoder: Open, entry: dict) -> None:
    """Three times: run, captured, replayed."""
    decoder = open_decoder(None if entry["bundle"] is None else GOLDEN / entry["bundle"])
    data, expected = (GOLDEN / entry["file"]).read_bytes(), np.asarray(Image.open(GOLDEN / entry["picture"]))

    for _ in range(3):
        np.testing.assert_allclose(decoded(decoder, data).astype(int), expected, atol=1)


@pytest.mark.skipif(not KODAK, reason="FASTLIC_KODAK names no folder of photographs")
@pytest.mark.parametrize("student", [None, DEFORMABLE], ids=["shipped", "deformable"])
def test_photographs_encoded_on_a_cpu_have_no_differing_symbol(open_decoder: Open, student: Path | None) -> None:
    """The decoder compares symbols with the file's checksums."""
    decoder = open_decoder(student)
    with Encoder(student, engine="ort-cpu") as encoder:
        for path in KODAK:
            picture = np.asarray(Image.open(path).convert("RGB"))
            assert decoded(decoder, encoder.encode(picture)).shape == picture.shape


def test_thousand_decodes_take_no_memory(open_decoder: Open, device: Device) -> None:
    decoder, data = open_decoder(GOLDEN / "tiny.licb"), (GOLDEN / "tiny-square.lic").read_bytes()
    for _ in range(20):
        decoded(decoder, data)
    before = device.free_memory()

    for _ in range(1000):
        decoder.decode(data)

    assert before - device.free_memory() < 1 << 20


def test_picture_is_taken_by_torch_without_a_copy(open_decoder: Open) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    decoder, data = open_decoder(GOLDEN / "tiny.licb"), (GOLDEN / "tiny-square.lic").read_bytes()
    expected = decoded(decoder, data)

    picture = decoder.decode_on_device(data)
    tensor = torch.from_dlpack(picture)

    assert tensor.data_ptr() == picture.pointer
    np.testing.assert_array_equal(tensor.cpu().numpy(), expected)


def test_picture_is_taken_by_cupy_without_a_copy(open_decoder: Open) -> None:
    cupy = pytest.importorskip("cupy")
    decoder, data = open_decoder(GOLDEN / "tiny.licb"), (GOLDEN / "tiny-square.lic").read_bytes()
    expected = decoded(decoder, data)

    picture = decoder.decode_on_device(data)
    array = cupy.asarray(picture)

    assert array.data.ptr == picture.pointer
    np.testing.assert_array_equal(cupy.asnumpy(array), expected)


@pytest.mark.parametrize("threads", [4])
def test_threads_that_share_a_decoder_get_their_own_pictures(open_decoder: Open, threads: int) -> None:
    """Each thread's first pictures are captured while others decode."""
    decoder = open_decoder(GOLDEN / "tiny.licb")
    files = {name: (GOLDEN / f"{name}.lic").read_bytes() for name in ("tiny-square", "tiny-pixel", "tiny-tiles")}
    expected = {name: decoded(decoder, data) for name, data in files.items()}

    with ThreadPoolExecutor(threads) as pool:
        names = [*files] * 8
        for name, picture in zip(names, pool.map(lambda name: decoder.decode(files[name]), names), strict=True):
            np.testing.assert_array_equal(picture, expected[name])


def test_stream_of_pictures_is_what_single_decodes_give(open_decoder: Open) -> None:
    decoder, data = open_decoder(GOLDEN / "tiny.licb"), (GOLDEN / "tiny-square.lic").read_bytes()
    expected = decoded(decoder, data)

    for picture in decoder.decode_stream([data] * 6):
        np.testing.assert_array_equal(picture, expected)
