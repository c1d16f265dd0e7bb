"""Pinned graphs: the engine they were made for runs them, every other is refused."""

from __future__ import annotations

import re

import pytest
import tiny_student

from fastlic.errors import EngineUnavailable, PinMismatch
from fastlic.runtime import engines, pin
from fastlic.runtime.codec import Decoder, Encoder
from fastlic.runtime.manifest import Pin


def pinned_to(wanted: Pin) -> bytes:
    """The tiny student, its context pinned instead of exact."""
    parts = tiny_student.parts()
    parts.manifest["graphs"]["context"] |= {"exact": False, "pinned": True}
    parts.manifest["pin"] = {"engine": wanted.engine, "version": wanted.version, "machine": wanted.machine}
    return parts.pack()


@pytest.fixture(scope="module")
def here() -> Pin:
    engine = engines.create("ort-cpu", threads=1)
    found = pin.pin_of(engine)
    engine.close()
    return found


def test_pin_names_engine_version_and_class_of_machine(here: Pin) -> None:
    assert here.engine == "ort-cpu"
    assert re.fullmatch(r"\d+\.\d+.*", here.version)
    assert re.fullmatch(r"\w+ \w+", here.machine)


def test_bundle_pinned_to_this_engine_encodes_and_decodes(here: Pin) -> None:
    bundle, picture = pinned_to(here), tiny_student.picture(64, 64)

    with Encoder(bundle, threads=1) as encoder, Decoder(bundle, threads=1) as decoder:
        assert decoder.decode(encoder.encode(picture)).shape == picture.shape


@pytest.mark.parametrize("key", ["engine", "version", "machine"])
@pytest.mark.parametrize("codec", [Encoder, Decoder])
def test_bundle_pinned_elsewhere_is_refused_with_both_names(here: Pin, codec: type, key: str) -> None:
    wanted = Pin(**{"engine": here.engine, "version": here.version, "machine": here.machine, key: "other"})

    with pytest.raises(PinMismatch, match=rf"equal only on .*other.*; this is {here.engine} {here.version}") as caught:
        codec(pinned_to(wanted), threads=1)

    assert isinstance(caught.value, EngineUnavailable)


def test_pin_ignored_on_purpose_decodes(here: Pin) -> None:
    bundle, picture = pinned_to(Pin("other", "0", "none")), tiny_student.picture(64, 64)

    with Encoder(bundle, threads=1, ignore_pin=True) as encoder, Decoder(bundle, threads=1, ignore_pin=True) as decoder:
        assert decoder.decode(encoder.encode(picture)).shape == picture.shape


def test_processor_that_tells_nothing_is_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pin, "_features", dict)
    pin.machine_class.cache_clear()
    try:
        assert pin.machine_class().endswith(" scalar")
    finally:
        pin.machine_class.cache_clear()
