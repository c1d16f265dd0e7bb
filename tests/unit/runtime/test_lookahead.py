from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from fastlic.runtime.lookahead import begun_ahead


def test_results_come_in_the_order_of_the_items() -> None:
    assert [wait() for wait in begun_ahead(range(5), lambda item: item * item, 2)] == [0, 1, 4, 9, 16]


@pytest.mark.parametrize(("ahead", "taken_first"), [(0, 1), (1, 2), (3, 4)])
def test_items_are_taken_only_so_far_ahead(ahead: int, taken_first: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    with contextlib.closing(begun_ahead(items(), lambda item: item, ahead)) as begun:
        next(begun)()
        assert len(taken) == taken_first


def test_next_item_is_begun_while_the_present_one_is_held() -> None:
    second_begun = threading.Event()

    def begin(item: int) -> int:
        if item == 1:
            second_begun.set()
        return item

    with contextlib.closing(begun_ahead([0, 1], begin, 1)) as begun:
        next(begun)()

        assert second_begun.wait(10)


def test_error_of_an_item_stays_in_its_place() -> None:
    def begin(item: int) -> float:
        return 1 / item

    waits = list(begun_ahead([1, 0, 2], begin, 2))

    assert [waits[0](), waits[2]()] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        waits[1]()


def test_error_of_the_source_comes_after_everything_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("unplugged")

    begun = begun_ahead(items(), lambda item: item, 3)

    assert next(begun)() == 1
    with pytest.raises(OSError, match="unplugged"):
        next(begun)


def test_closing_early_begins_nothing_more() -> None:
    begun_items: list[int] = []
    begun = begun_ahead(range(100), lambda item: begun_items.append(item), 1)
    next(begun)()

    begun.close()

    assert len(begun_items) <= 2
    assert not any(thread.name.startswith("fastlic-ahead") for thread in threading.enumerate())


def test_item_for_which_the_system_gives_no_thread_is_a_lack_of_memory_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with contextlib.closing(begun_ahead([1, 2], lambda item: item, 0)) as begun:
        with monkeypatch.context() as short:
            short.setattr(threading.Thread, "start", refuse)
            with pytest.raises(MemoryError, match="can't start new thread"):
                next(begun)()

        assert next(begun)() == 2
