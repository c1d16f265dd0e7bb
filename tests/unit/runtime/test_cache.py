from __future__ import annotations

import threading
from pathlib import Path

import pytest

from fastlic.runtime.cache import Cache, default_folder


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "made" / "later")


def test_what_was_written_is_read(cache: Cache) -> None:
    cache.write("a", b"content")

    assert cache.read("a") == b"content"
    assert not cache.damaged("a")


def test_what_was_never_written_is_absent_and_not_damaged(cache: Cache) -> None:
    assert cache.read("a") is None
    assert not cache.damaged("a")


@pytest.mark.parametrize("change", ["cut", "flip", "foreign", "empty"])
def test_a_file_that_is_not_what_was_written_is_as_good_as_absent(cache: Cache, change: str) -> None:
    cache.write("a", b"some content")
    stored = cache.path("a").read_bytes()
    flipped = bytes([*stored[:-3], stored[-3] ^ 1, *stored[-2:]])
    cache.path("a").write_bytes({"cut": stored[:-1], "flip": flipped, "foreign": b"some content", "empty": b""}[change])

    assert cache.read("a") is None
    assert cache.damaged("a")


def test_a_file_is_made_once_though_many_ask_at_the_same_time(cache: Cache) -> None:
    made: list[int] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        assert cache.obtain("a", lambda: (made.append(1), b"content")[1]) == b"content"

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert made == [1]


def test_a_damaged_file_is_made_again(cache: Cache) -> None:
    cache.write("a", b"content")
    cache.path("a").write_bytes(b"rubbish")

    assert cache.obtain("a", lambda: b"anew") == b"anew"
    assert cache.read("a") == b"anew"


def test_making_that_fails_leaves_nothing(cache: Cache) -> None:
    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.obtain("a", fail)
    assert cache.read("a") is None


def test_the_folder_can_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLIC_CACHE", str(tmp_path))

    assert default_folder() == tmp_path
