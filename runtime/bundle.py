"""Open a `.licb` bundle: a zip of a manifest, graphs and tables, all checked before use.

Knows archives, hashes and where shipped bundles lie; knows nothing of engines or of how symbols are coded.
Rule: docs/format.md, section 2.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
import zlib
from functools import cached_property
from importlib import resources
from math import ceil
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastlic.errors import BundleError, StudentNotFound
from fastlic.runtime import manifest as manifests
from fastlic.runtime import onnx_structure
from fastlic.runtime.bitstream import Header
from fastlic.runtime.entropy.tables import Distribution, MixtureTables, RowTables
from fastlic.runtime.limits import Limits

SUFFIX = ".licb"
MANIFEST = "manifest.json"
MAX_ENTRIES = 256
MAX_MANIFEST_BYTES = 4_194_304
_NAME = re.compile(r"[a-z0-9_-][a-z0-9_.-]*(/[a-z0-9_-][a-z0-9_.-]*)*")


class Bundle:
    """One student, ready to be given to engines.

    Members are read when asked for, and their size and SHA-256 are checked then.

    Args:
        source: path of a bundle, or its bytes.
        limits: on the bytes that members inflate to, and on the work that the manifest asks for.

    Attributes:
        source: as given.
        origin: what messages call it.

    Raises:
        BundleError: not a zip, an unsafe or unlisted entry, a manifest that breaks its rules.
        LimitExceeded: larger than the limits allow.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.source = source
        self.origin = "bytes" if isinstance(source, bytes) else os.fspath(source)
        self._stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else self._open(Path(source))
        try:
            self._zip = zipfile.ZipFile(self._stream)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            self._stream.close()
            raise BundleError(f"{self.origin}: not a bundle: {error}.") from None
        try:
            self._check_entries(limits)
            self.manifest = manifests.parse(self._inflate(MANIFEST, self._zip.getinfo(MANIFEST).file_size))
            self._check_listing()
            self._check_work(limits)
        except BaseException:
            self.close()
            raise

    @cached_property
    def fingerprint(self) -> bytes:
        """8 bytes that stand for everything the symbols depend on."""
        return manifests.fingerprint(self.manifest)

    def member(self, name: str) -> bytes:
        """A member's content.

        Raises:
            BundleError: its hash is not the manifest's.
        """
        listed = self.manifest.members[name]
        content = self._inflate(name, listed.size)
        if hashlib.sha256(content).hexdigest() != listed.sha256:
            raise BundleError(
                f"{self.origin}: {name} is not what the manifest lists (SHA-256). Fetch the bundle again."
            )
        return content

    def graph(self, name: str) -> bytes:
        """The ONNX model of a graph, ready for an engine.

        Raises:
            BundleError: its hash is not the manifest's, or it could run without end; see `onnx_structure`.
        """
        model = self.member(self.manifest.graphs[name].file)
        onnx_structure.check(model, name)
        return model

    def array(self, name: str) -> np.ndarray:
        """A `.npy` member.

        Raises:
            BundleError: its hash is not the manifest's, or it is not a plain array; object arrays are not.
        """
        content = self.member(name)
        try:
            return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        except Exception as error:  # numpy evaluates the header as Python: anything from a syntax error to an overflow
            raise BundleError(f"{self.origin}: {name} is not a plain array: {str(error)[:200]}.") from None

    def distribution(self, name: str) -> Distribution:
        """The tables of one distribution, shapes and ranges checked."""
        spec = self.manifest.distributions[name]
        tables = {key: self.array(file) for key, file in manifests.table_files(spec).items()}
        if isinstance(spec, manifests.TableSpec):
            return RowTables(**tables)
        return MixtureTables(
            families=spec.families, components=spec.components, skip_threshold=spec.skip_threshold, **tables
        )

    def close(self) -> None:
        """Close the file. Everything read before stays valid."""
        self._zip.close()
        self._stream.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @staticmethod
    def _open(path: Path) -> BinaryIO:
        try:
            return path.open("rb")
        except OSError as error:
            raise BundleError(f"{path}: cannot be opened: {error.strerror}.") from None

    def _check_entries(self, limits: Limits) -> None:
        entries = self._zip.infolist()
        limits.check("max_bundle_bytes", sum(entry.file_size for entry in entries), f"{self.origin}: inflated bytes")
        names = [entry.filename for entry in entries]
        if len(names) > MAX_ENTRIES or len(set(names)) != len(names):
            raise BundleError(f"{self.origin}: {len(names)} entries, some perhaps twice; {MAX_ENTRIES} are allowed.")
        for entry in entries:
            if not _NAME.fullmatch(entry.filename):
                raise BundleError(f"{self.origin}: unsafe entry name {entry.filename[:80]!r}.")
            if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BundleError(f"{self.origin}: {entry.filename} is encrypted or compressed in an unknown way.")
        if MANIFEST not in names:
            raise BundleError(f"{self.origin}: there is no {MANIFEST}; this is not a bundle.")
        if self._zip.getinfo(MANIFEST).file_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{self.origin}: {MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes.")

    def _check_listing(self) -> None:
        present = {entry.filename: entry.file_size for entry in self._zip.infolist() if entry.filename != MANIFEST}
        listed = {name: member.size for name, member in self.manifest.members.items()}
        for name in sorted(present.keys() ^ listed.keys()):
            problem = "missing" if name in listed else "not listed in the manifest"
            raise BundleError(f"{self.origin}: {name} is {problem}.")
        for name, size in listed.items():
            if present[name] != size:
                raise BundleError(f"{self.origin}: {name} has {present[name]} bytes, the manifest says {size}.")

    def _check_work(self, limits: Limits) -> None:
        """Hold what grows with the picture, for a given number of pixels, within the limits."""
        manifest = self.manifest
        for part, steps in (("schedule", manifest.schedule), ("analysis", manifest.analysis)):
            limits.check("max_steps", len(steps), f"{self.origin}: steps of the {part}")
        present = sum(latent.channels / latent.stride**2 for latent in manifest.latents.values())
        coded = 0.0
        for step in manifest.schedule:
            if isinstance(step, manifests.Code):
                first, end = step.channels
                share = 1.0 if step.parity == "all" else 0.5
                coded += share * (end - first) / manifest.latents[step.latent].stride ** 2
        limits.check("max_latent_density", ceil(max(present, coded)), f"{self.origin}: latent elements per pixel")

    def _inflate(self, name: str, size: int) -> bytes:
        """At most `size` bytes are inflated, whatever the entry's own header says."""
        try:
            with self._zip.open(name) as entry:
                content = entry.read(size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
            raise BundleError(f"{self.origin}: {name} cannot be read: {error}.") from None
        if len(content) != size:
            raise BundleError(f"{self.origin}: {name} does not inflate to {size} bytes.")
        return content


def shipped() -> list[Path]:
    """Paths of the bundles that came with the package, by name."""
    return sorted(Path(str(resources.files("fastlic.runtime"))).glob(f"students/*{SUFFIX}"))


def default(limits: Limits | None = None) -> Bundle:
    """The student an encoder uses when none is named: the first that was shipped."""
    for path in shipped():
        return Bundle(path, limits)
    raise StudentNotFound("no student was shipped with this installation. Name a bundle (-m STUDENT.licb).")


def for_file(header: Header, limits: Limits | None = None) -> Bundle:
    """The shipped bundle that a file was written with.

    Raises:
        StudentNotFound: none has the file's fingerprint.
    """
    names = []
    for path in shipped():
        bundle = Bundle(path, limits)
        if bundle.fingerprint == header.fingerprint:
            return bundle
        names.append(f"{bundle.manifest.name} ({bundle.fingerprint.hex()})")
        bundle.close()
    raise StudentNotFound(
        f"the file was written with a student of fingerprint {header.fingerprint.hex()}; installed: "
        f"{', '.join(names) or 'none'}. Name its bundle (-m STUDENT.licb)."
    )
