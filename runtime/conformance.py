"""Check a bundle on this machine: is it whole, and does it give the symbols that export got?

Knows hashes, vectors and checksums; knows nothing of how a bundle was made.
Rule: docs/format.md, sections 2.1 (`conformance`) and 1.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastlic.errors import BundleError, EngineNotPrepared, FastlicError
from fastlic.kernels import native
from fastlic.runtime import bitstream, engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.codec import Decoder
from fastlic.runtime.entropy import range_coder
from fastlic.runtime.limits import Limits


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; `problem` is None when it holds."""

    check: str
    problem: str | None = None


def check_members(bundle: Bundle) -> Finding:
    """Whether every member has the size and hash that the manifest names."""
    try:
        for name in bundle.manifest.members:
            bundle.member(name)
    except BundleError as error:
        return Finding("members", str(error))
    return Finding("members")


def check_certificates(bundle: Bundle) -> Finding:
    """Whether every exact graph comes with the bounds that prove it exact."""
    exact = {name for name, graph in bundle.manifest.graphs.items() if graph.exact}
    missing = sorted(exact - bundle.manifest.certificates.keys())
    return Finding("certificates", f"none for {', '.join(missing)}" if missing else None)


def check_vectors(source: str, engine: str, reader: str, *, threads: int | None = None) -> Finding:
    """Decode the latents of all vectors of a bundle.

    Args:
        source: path of the bundle.
        engine, reader: as for `Decoder`; one that cannot run is a problem, not an exception. One that the bundle was
            not prepared for is no problem, and the finding says so.
    """
    check = f"vectors, {engine}, {reader} reader"
    try:
        with Bundle(source) as bundle, Decoder(source, engine=engine, threads=threads, entropy=reader) as decoder:
            for vector in bundle.manifest.conformance:
                data = bundle.member(vector.lic)
                decoder.decode_latents(data)
                if symbol_crcs(data, bundle) != vector.symbol_crc:
                    return Finding(check, f"{vector.lic}: the manifest has other symbol checksums than the file")
            return Finding(check)
    except EngineNotPrepared:
        return Finding(f"{check}: not prepared by fastlic build, not decoded")
    except FastlicError as error:
        return Finding(check, f"{type(error).__name__}: {error}")


def check_bundle(source: str, engine: str | None, *, threads: int | None = None) -> Iterator[Finding]:
    """Everything above, with every reader that was built.

    Args:
        source: path of the bundle.
        engine: its name; None takes all that can run here, or the one that the bundle is pinned to.
    """
    try:
        with Bundle(source) as bundle:
            if engine is None and bundle.manifest.pin is not None:
                engine = bundle.manifest.pin.engine
            yield check_members(bundle)
            yield check_certificates(bundle)
            if not bundle.manifest.conformance:
                yield Finding("vectors", "the bundle has none")
                return
    except FastlicError as error:
        yield Finding("bundle", str(error))
        return
    for name, reader in ways(engine):
        yield check_vectors(source, name, reader, threads=threads)


def ways(engine: str | None) -> list[tuple[str, str]]:
    """(engine, reader) for all that can be tried here.

    Args:
        engine: its name; None takes all that can run here.
    """
    chosen = [engine] if engine else [name for name, reason in engines.report() if reason is None]
    readers = [name for name, part in (("native", native), ("constriction", range_coder)) if part.available()]
    return [(name, reader) for name in chosen for reader in readers]


def check_file(source: str, bundle: str | None, engine: str, *, threads: int | None = None) -> Finding:
    """Decode the symbols of one `.lic` file against the checksums in it."""
    try:
        with Decoder(bundle, engine=engine, threads=threads) as decoder:
            decoder.decode_latents(Path(source).read_bytes())
    except FastlicError as error:
        return Finding("symbols", f"{type(error).__name__}: {error}")
    return Finding("symbols")


def symbol_crcs(data: bytes, bundle: Bundle) -> tuple[int, ...]:
    """What a vector's `symbol_crc` says about a file: the checksum of each tile, as the file has it.

    Args:
        data: a `.lic` file written with `bundle`.

    Raises:
        BitstreamError: the file is damaged.
    """
    header = bitstream.probe(data)
    grid = header.grid(bundle.manifest.multiple)
    return tuple(tile.symbol_crc for tile in bitstream.read_tiles(data, header, grid, bundle.manifest.mapped, Limits()))
