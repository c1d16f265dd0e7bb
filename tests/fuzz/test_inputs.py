"""What mutator and forger make is what they say, and the targets see through it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from fuzz.forger import Forger
from fuzz.mutator import Mutator, taken_apart
from fuzz.targets import MAP_BYTES, DecodeTarget, seeds

from fastlic.errors import FastlicError, SymbolMismatch


@pytest.fixture(scope="module")
def target() -> DecodeTarget:
    return DecodeTarget()


@pytest.mark.parametrize("data", seeds())
def test_file_taken_apart_and_packed_again_differs_in_the_students_name_only(data: bytes) -> None:
    packed = taken_apart(data, MAP_BYTES).pack()

    assert packed[:24] + packed[28:44] + packed[48:] == data[:24] + data[28:44] + data[48:]


def test_mutator_same_seed_gives_the_same_files() -> None:
    first, second = Mutator(seeds(), MAP_BYTES, 3), Mutator(seeds(), MAP_BYTES, 3)

    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]


def test_mutated_files_are_refused_or_verified_and_reach_the_symbols(target: DecodeTarget) -> None:
    mutator, outcomes = Mutator(seeds(), MAP_BYTES, 4), Counter[str]()
    for _ in range(400):
        data = mutator.next()
        try:
            picture = target(data)
        except FastlicError as error:
            outcomes[str(error)[:9]] += 1
        else:
            target.verify(data, picture)
            outcomes["accepted"] += 1
    assert min(outcomes["accepted"], outcomes["stream 0:"]) > 3


def test_forged_files_are_accepted_and_verified_unless_their_checksum_is_wrong(target: DecodeTarget) -> None:
    forger = Forger(target.student, 5)
    for _ in range(5):
        data, is_right = forger.next()
        if is_right:
            target.verify(data, target(data))
        else:
            with pytest.raises(SymbolMismatch):
                target(data)


def test_verify_refuses_another_picture(target: DecodeTarget) -> None:
    data = seeds()[1]
    picture = target(data)

    with pytest.raises(AssertionError, match="another picture"):
        target.verify(data, np.roll(picture, 1, axis=0))
