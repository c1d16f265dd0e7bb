"""Closing, pickling and forking of coders."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny_student

from fastlic.errors import CoderClosed
from fastlic.runtime import engines
from fastlic.runtime.codec import Decoder, Encoder

TESTS = Path(tiny_student.__file__).parent
IN_PROCESSES = """
import multiprocessing, sys
sys.path.insert(0, {tests!r})
import tiny_student
from fastlic.runtime.codec import Decoder, Encoder

bundle = tiny_student.bundle_bytes()
decoder = Decoder(bundle, threads=2)

def decoded(data):
    return decoder.decode(data).tobytes()

def decoded_with(decoder, data):
    return decoder.decode(data).tobytes()

if __name__ == "__main__":
    data = Encoder(bundle, threads=2).encode(tiny_student.picture(300, 300))
    expected = decoder.decode(data).tobytes()
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        {call}
    assert decoder.decode(data).tobytes() == expected
    print("equal")
"""


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(tiny_student.bundle_bytes(), threads=1)


@pytest.fixture(scope="module")
def data() -> bytes:
    with Encoder(tiny_student.bundle_bytes(), threads=1) as encoder:
        return encoder.encode(tiny_student.picture(64, 64))


def test_closed_decoder_refuses_everything_and_says_why(decoder: Decoder, data: bytes) -> None:
    decoder.close()
    decoder.close()

    for use in (decoder.decode, decoder.decode_latents, lambda data: decoder.decode_batch([data])):
        with pytest.raises(CoderClosed, match="this Decoder was closed"):
            use(data)
    with pytest.raises(CoderClosed):
        _ = decoder.engine_info


def test_closed_encoder_refuses(data: bytes) -> None:
    encoder = Encoder(tiny_student.bundle_bytes(), threads=1)
    encoder.close()

    with pytest.raises(CoderClosed, match="this Encoder"):
        encoder.encode(tiny_student.picture(8, 8))


def test_close_waits_for_a_decode_in_progress(decoder: Decoder, data: bytes) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Pause(threading.Event):
        def is_set(self) -> bool:
            inside.set()
            go_on.wait(10)
            return False

    pictures: list[np.ndarray] = []
    decoding = threading.Thread(target=lambda: pictures.append(decoder.decode(data, cancel=Pause())))
    closing = threading.Thread(target=decoder.close)
    decoding.start()
    assert inside.wait(10)
    closing.start()
    closing.join(0.2)

    assert closing.is_alive()
    go_on.set()
    decoding.join(10)
    closing.join(10)
    assert not closing.is_alive()
    assert pictures[0].shape == (64, 64, 3)


def test_pickled_decoder_is_made_of_the_same_arguments(decoder: Decoder, data: bytes) -> None:
    again = pickle.loads(pickle.dumps(decoder))

    np.testing.assert_array_equal(again.decode(data), decoder.decode(data))
    assert again.engine_info == decoder.engine_info


def test_decoder_with_an_engine_object_cannot_be_pickled() -> None:
    decoder = Decoder(tiny_student.bundle_bytes(), engine=engines.create("ort-cpu", threads=1))

    with pytest.raises(TypeError, match="Name the engine instead"):
        pickle.dumps(decoder)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forks")
@pytest.mark.parametrize(
    ("method", "call"),
    [
        ("fork", "assert pool.map(decoded, [data] * 4) == [expected] * 4"),
        ("spawn", "assert pool.starmap(decoded_with, [(decoder, data)] * 2) == [expected] * 2"),
    ],
)
def test_other_processes_decode_alike(tmp_path: Path, method: str, call: str) -> None:
    script = tmp_path / "processes.py"
    script.write_text(IN_PROCESSES.format(tests=str(TESTS), method=method, call=call))

    # In a process of its own: a child that waited for the threads of its parent would otherwise hang the tests.
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100, check=False)

    assert done.stdout == "equal\n", done.stderr
