"""Write a bundle: deterministic, complete, checked by the reader before it gets its name.

Knows archives and hashes; knows nothing of what the members mean.
Rule: docs/format.md, section 2.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from fastlic.runtime.bundle import MANIFEST, Bundle
from fastlic.runtime.files import write_atomically
from fastlic.runtime.manifest import Manifest, Member

TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_UNIX = 3  # whichever system writes the archive, its bytes are the same


def pack(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """The archive of a manifest and its members; equal arguments give equal bytes.

    Args:
        manifest: `members` of it is replaced by the truth about `members`.
        members: entry name -> content.

    Returns:
        The bundle, already opened and checked once.

    Raises:
        BundleError: the reader would refuse it.
    """
    listing = {
        name: Member(size=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in sorted(members.items())
    }
    text = msgspec.json.format(
        msgspec.json.encode(msgspec.structs.replace(manifest, members=listing), order="sorted"), indent=1
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in ((MANIFEST, text), *sorted(members.items())):
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.create_system, entry.external_attr = _UNIX, 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)
    packed = stream.getvalue()
    with Bundle(packed) as bundle:
        for name in bundle.manifest.distributions:
            bundle.distribution(name)
    return packed


def array_member(array: np.ndarray) -> bytes:
    """A table as a `.npy` member."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def publish(packed: bytes, output: Path) -> None:
    """Give a packed bundle its name, whole or not at all."""
    write_atomically(output, packed)
