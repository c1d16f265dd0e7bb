"""What must not be destroyed in the child of a fork.

Knows objects whose destructors wait for threads. Only the forking thread lives on in the child: the destructor of an
ONNX Runtime session would wait there for ever, at the latest when the child exits. Children therefore keep such objects
until their end, unused (`fastlic.runtime.coder` makes new ones).
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import TypeVar

Owner = TypeVar("Owner")

_owners: weakref.WeakSet[object] = weakref.WeakSet()


def kept_in_children(owner: Owner) -> Owner:
    """The same object; children of forks from now on never destroy it."""
    _owners.add(owner)
    return owner


def keep() -> None:
    """Never destroy what was given to `kept_in_children`; called in the child of a fork, before anything lets go."""
    for owner in list(_owners):
        # A reference that nobody holds: one in a list of this module would be given back when the interpreter ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))
    _owners.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=keep)
