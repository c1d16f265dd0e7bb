"""Begin the next items while the present one is finished.

Knows one thread and an order; knows nothing of what is done with an item.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Begun = TypeVar("Begun")


def begun_ahead(
    items: Iterable[Item], begin: Callable[[Item], Begun], ahead: int
) -> Generator[Callable[[], Begun], None, None]:
    """Call `begin` for each item in a thread of its own, `ahead` items before they are needed.

    Items are taken in the caller's thread. When the generator is closed, an item that is being begun is waited for and
    those that wait are dropped.

    Args:
        ahead: items that may be begun or wait besides the one yielded; bounds the memory. With 0 an item is taken only
            when its turn has come.

    Yields:
        One function per item, in order, which waits for what `begin` returned or raises what it raised.

    Raises:
        What `items` raises, after everything taken before it was yielded. In the place of an item, `MemoryError`
        where the system gives no thread.
    """
    source = iter(items)
    waiting: deque[Future[Begun]] = deque()
    failure: Exception | None = None
    more = True
    with ThreadPoolExecutor(1, "fastlic-ahead") as pool:
        try:
            while True:
                while more and len(waiting) <= ahead:
                    try:
                        item = next(source)
                    except StopIteration:
                        more = False
                    except Exception as error:
                        more, failure = False, error
                    else:
                        waiting.append(_submit(pool, begin, item))
                if not waiting:
                    break
                yield waiting.popleft().result
        finally:
            for future in waiting:
                future.cancel()
    if failure is not None:
        raise failure


def _submit(pool: ThreadPoolExecutor, begin: Callable[[Item], Begun], item: Item) -> Future[Begun]:
    try:
        return pool.submit(begin, item)
    except RuntimeError as error:  # the interpreter has no class of its own for it
        failed: Future[Begun] = Future()
        failed.set_exception(MemoryError(f"not enough memory or too many threads: {error}"))
        return failed
