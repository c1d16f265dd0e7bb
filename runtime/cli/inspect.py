"""`fastlic inspect`: what is in `.lic` files and `.licb` bundles, without decoding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastlic.runtime.cli import batch, options
from fastlic.runtime.cli.console import Record, note

if TYPE_CHECKING:
    from fastlic.runtime.bitstream import Header
    from fastlic.runtime.bundle import Bundle
    from fastlic.runtime.manifest import GraphSpec


def command(
    paths: Annotated[list[str], typer.Argument(help=".lic files, .licb bundles, folders or -.")],
    model: options.Model = None,
    as_json: options.Json = False,
) -> None:
    """Show what is in a .lic file or a bundle, without decoding it."""
    batch.examine(
        paths,
        lambda name, data: _bundle_record(name, data) if data[:2] == b"PK" else _file_record(name, data, model),
        reads={".lic", ".licb"},
        as_json=as_json,
    )


def _file_record(name: str, data: bytes, model: Path | None) -> Record:
    from fastlic.errors import StudentNotFound
    from fastlic.runtime import bundle as bundles
    from fastlic.runtime.bitstream import VERSION, probe, read_metadata
    from fastlic.runtime.limits import Limits

    header = probe(data)
    record: dict[str, object] = {
        "source": name,
        "kind": f".lic, format version {VERSION}",
        "picture": f"{header.width}x{header.height}",
        "bytes": len(data),
        "bpp": round(8 * len(data) / (header.width * header.height), 4),
        "fingerprint": header.fingerprint.hex(),
    }
    if header.rate:
        record["rate"] = header.rate
    for kind, block in read_metadata(data, header, Limits()).items():
        record[f"{kind}_bytes"] = len(block)
    try:
        with bundles.Bundle(model) if model else bundles.for_file(header) as bundle:
            record |= _tile_facts(data, header, bundle)
    except StudentNotFound as error:
        note(f"{name}: {error}")
    return record


def _tile_facts(data: bytes, header: Header, bundle: Bundle) -> Record:
    """What only the student makes readable: its name and the tile index."""
    import numpy as np

    from fastlic.errors import FingerprintMismatch
    from fastlic.runtime.bitstream import read_tiles
    from fastlic.runtime.limits import Limits

    if bundle.fingerprint != header.fingerprint:
        raise FingerprintMismatch(f"not written with {bundle.manifest.name} ({bundle.fingerprint.hex()}).")
    grid = header.grid(bundle.manifest.multiple)
    tiles = read_tiles(data, header, grid, bundle.manifest.mapped, Limits())
    facts: dict[str, object] = {
        "student": bundle.manifest.name,
        "tiles": len(tiles),
        "tile": f"{grid.tile_width}x{grid.tile_height}",
        "streams": sum(len(tile.streams) for tile in tiles),
        "stream_bytes": sum(len(stream) for tile in tiles for stream in tile.streams),
    }
    for latent, channels in bundle.manifest.mapped.items():
        active = [int(np.unpackbits(np.frombuffer(tile.channel_maps[latent], np.uint8)).sum()) for tile in tiles]
        span = str(min(active)) if min(active) == max(active) else f"{min(active)} to {max(active)}"
        facts[f"{latent}_active_channels"] = f"{span} of {channels}"
    return facts


def _bundle_record(name: str, data: bytes) -> Record:
    from fastlic.runtime.bundle import Bundle

    with Bundle(data) as bundle:
        manifest = bundle.manifest
        return {
            "source": name,
            "kind": ".licb, format version {}.{}".format(*manifest.format),
            "bytes": len(data),
            "fingerprint": bundle.fingerprint.hex(),
            "student": manifest.name,
            "card": {key: value for key, value in manifest.student.items() if key != "name"},
            "encoder": bool(manifest.analysis),
            **({"rates": manifest.rates} if manifest.rates else {}),
            **(
                {"pin": f"{manifest.pin.engine} {manifest.pin.version} ({manifest.pin.machine})"}
                if manifest.pin
                else {}
            ),
            "graphs": {
                graph: f"{_kind(spec)} {spec.scope} {manifest.members[spec.file].size} bytes"
                for graph, spec in manifest.graphs.items()
            },
            "schedule": [
                step.graph if hasattr(step, "graph") else f"code {step.latent} {step.parity} ({step.distribution})"
                for step in manifest.schedule
            ],
            "certificates": sorted(manifest.certificates),
            "vectors": len(manifest.conformance),
            "validation": manifest.validation,
        }


def _kind(spec: GraphSpec) -> str:
    if spec.pinned:
        return "pinned"
    return "exact" if spec.exact else "float"
