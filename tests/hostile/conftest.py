"""A small student with everything a file can be damaged in, and one file of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tiny_student

from fastlic.runtime.codec import Decoder, Encoder


@pytest.fixture(scope="session")
def bundle_bytes() -> bytes:
    """The tiny student's bundle."""
    return tiny_student.bundle_bytes()


@pytest.fixture(scope="session")
def decoder(bundle_bytes: bytes) -> Iterator[Decoder]:
    """A decoder of the tiny student."""
    with Decoder(bundle_bytes, threads=1) as decoder:
        yield decoder


@pytest.fixture(scope="session")
def small_file(bundle_bytes: bytes) -> bytes:
    """A 64x64 picture with metadata, in two streams, about 200 bytes."""
    with Encoder(bundle_bytes, threads=1) as encoder:
        return encoder.encode(tiny_student.picture(64, 64), metadata={"icc": b"abc"}, stream_count=2)
