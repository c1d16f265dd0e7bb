"""What must stay away while a stream is captured into a graph, by whatever library.

Knows threads and the garbage collector; knows nothing of a driver.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()


@contextmanager
def capturing() -> Iterator[None]:
    """To be used around every capture, torch's too: keep other captures and the cyclic garbage collector away.

    torch allows one capture at a time in a process, and waits for the whole device before it begins one, which may not
    be while another stream captures. Memory that the collector finds would be given back by the thread that captures;
    the driver refuses, and the capture is lost.
    """
    with _lock:
        enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if enabled:
                gc.enable()
