"""The containers of docs/format.md, sections 1 and 2, read from the document alone: `.lic` files, bundles, fingerprint.

Shares no code with fastlic; see plain_decoder.py, which decodes the symbols.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

HEADER = struct.Struct("<8sBBHHH8sIIIIII")
MAGIC = bytes.fromhex("894C49430D0A1A0A")
ENTRY_KEYS = {"table": ["cdf", "window", "low"]}
ENTRY_KEYS["mixture"] = ["exponential", "thresholds", "inverse_scale", "tail", "half_cdf"]
NUMBER_KEYS = {"table": [], "mixture": ["families", "components", "skip_threshold"]}


class Refused(Exception):
    """The document forbids this input."""


def require(condition: bool, rule: str) -> None:
    """Refuse an input that breaks `rule`."""
    if not condition:
        raise Refused(rule)


# --- 1. Bitstream ---------------------------------------------------------------------------------------------------


@dataclass
class Tile:
    """One tile as the index describes it, and its streams as bytes."""

    rows: int  # pixels of the padded picture
    columns: int
    active: dict[str, list[bool]]
    streams: list[bytes]
    symbol_crc: int


@dataclass
class File:
    """A container whose checks all passed."""

    width: int
    height: int
    rate: int
    fingerprint: bytes
    metadata: dict[int, bytes]
    tiles: list[Tile]


class Cursor:
    """Reads little-endian fields off bytes; never beyond their end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        require(self.at + count <= len(self.data), f"{count} bytes needed at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def u32(self) -> int:
        """The next four bytes."""
        return int.from_bytes(self.take(4), "little")

    def section(self, length: int) -> Cursor:
        """The next `length` bytes without the CRC-32 that ends them."""
        body = self.take(length)
        require(length >= 4 and zlib.crc32(body[:-4]) == int.from_bytes(body[-4:], "little"), "CRC-32 of a section")
        return Cursor(body[:-4])

    def finished(self) -> bool:
        """Whether every byte was taken."""
        return self.at == len(self.data)


def read_file(data: bytes, manifest: dict[str, Any]) -> File:
    """Parse a whole `.lic` file written with the bundle of `manifest` (section 1)."""
    cursor = Cursor(data)
    header = cursor.take(HEADER.size)
    fields = HEADER.unpack(header)
    magic, version, flags, tile_width, tile_height, rate, fingerprint, _student_hash = fields[:8]
    width, height, metadata_length, index_length, header_crc = fields[8:]
    require(magic == MAGIC, "magic")
    require(version == 1, "version")
    require(zlib.crc32(header[:44]) == header_crc, "header_crc")
    require(flags <= 1, "other flags are 0")
    rates = manifest.get("rates", 0)
    require(1 <= rate <= rates if rates else rate == 0, "rate is one of the student's, or 0 if it has one")
    require(min(tile_width, tile_height, width, height) >= 1, "sizes are at least 1")
    require(fingerprint == fingerprint_of(manifest), "fingerprint")
    require((metadata_length == 0) == (flags == 0), "metadata_length is 0 exactly when its flag is clear")
    metadata = read_metadata(cursor.section(metadata_length)) if flags else {}
    index = cursor.section(index_length)
    tiles = []
    unit = manifest["multiple"]
    units_high, units_wide = -(-height // unit), -(-width // unit)
    for top in range(0, units_high, tile_height):
        for left in range(0, units_wide, tile_width):
            rows = min(tile_height, units_high - top) * unit
            columns = min(tile_width, units_wide - left) * unit
            tiles.append(read_tile(index, manifest, rows, columns))
    require(index.finished(), "index_length")
    for tile, lengths in tiles:
        tile.streams = [cursor.take(4 * words) for words in lengths]
    require(cursor.finished(), "no bytes after the last stream")
    return File(width, height, rate, fingerprint, metadata, [tile for tile, _ in tiles])


def read_metadata(cursor: Cursor) -> dict[int, bytes]:
    """Blocks of ICC (1), EXIF (2) and XMP (3), section 1.2."""
    blocks: dict[int, bytes] = {}
    while not cursor.finished():
        kind = cursor.u8()
        require(kind in (1, 2, 3) and all(kind > earlier for earlier in blocks), "block types ascend from 1 to 3")
        blocks[kind] = cursor.take(cursor.u32())
    return blocks


def read_tile(index: Cursor, manifest: dict[str, Any], rows: int, columns: int) -> tuple[Tile, list[int]]:
    """One tile's index record, and the lengths of its streams in words (section 1.3)."""
    active = {}
    for name in coded_latents(manifest):
        channels = manifest["latents"][name]["channels"]
        if manifest["latents"][name].get("channel_map", False):
            bits = int.from_bytes(index.take((channels + 7) // 8), "little")
            require(bits >> channels == 0, "unused bits of a channel map are 0")
            active[name] = [bool(bits >> channel & 1) for channel in range(channels)]
        else:
            active[name] = [True] * channels
    stream_count = index.u8()
    require(1 <= stream_count <= 64, "stream_count is 1 to 64")
    lengths = [index.u32() for _ in range(stream_count)]
    return Tile(rows, columns, active, [], index.u32()), lengths


# --- 2. Bundle ------------------------------------------------------------------------------------------------------


def read_bundle(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and entries of a `.licb` archive (section 2)."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [entry.filename for entry in archive.infolist()]
        require(len(set(names)) == len(names), "each entry once")
        for name in names:
            parts = name.split("/")
            require(all(re.fullmatch(r"[a-z0-9_-][a-z0-9_.-]*", part) for part in parts), "entry names")
        entries = {name: archive.read(name) for name in names}
    manifest = json.loads(entries.pop("manifest.json"))
    require(manifest["format"][0] == 1, "major version")
    require(set(entries) == set(manifest["members"]), "the manifest lists every other entry")
    for name, member in manifest["members"].items():
        require(len(entries[name]) == member["size"], f"size of {name}")
        require(hashlib.sha256(entries[name]).hexdigest() == member["sha256"], f"SHA-256 of {name}")
    return manifest, entries


def coded_latents(manifest: dict[str, Any]) -> list[str]:
    """Names of the latents in order of first coding."""
    return list(dict.fromkeys(step["latent"] for step in manifest["schedule"] if step["step"] == "code"))


def coding_steps(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The schedule up to and with its last `code` step."""
    steps = manifest["schedule"]
    return steps[: max(number for number, step in enumerate(steps) if step["step"] == "code") + 1]


def fingerprint_of(manifest: dict[str, Any]) -> bytes:
    """The entropy fingerprint, section 2.3."""

    def ports(graph: dict[str, Any], side: str) -> list[dict[str, Any]]:
        return [{"name": port["name"], "stride": port["stride"]} for port in graph[side]]

    def step_of(step: dict[str, Any]) -> dict[str, Any]:
        if step["step"] == "run":
            return {key: step[key] for key in ("step", "graph", "inputs", "outputs")}
        kept = {key: step[key] for key in ("step", "latent", "distribution", "channels")}
        return kept | {"parity": step.get("parity", "all"), "parameters": step.get("parameters")}

    exact = {
        name: {key: graph[key] for key in ("file", "scope", "exact")}
        | {"inputs": ports(graph, "inputs"), "outputs": ports(graph, "outputs"), "halo": graph.get("halo", 0)}
        | ({"pinned": True} if graph.get("pinned") else {})
        for name, graph in manifest["graphs"].items()
        if graph["exact"] or graph.get("pinned")
    }
    latents = {
        name: {"channels": it["channels"], "stride": it["stride"], "channel_map": it.get("channel_map", False)}
        for name, it in manifest["latents"].items()
    }
    distributions = {}
    files = {graph["file"] for graph in exact.values()}
    for name, it in manifest["distributions"].items():
        kind = it["kind"]
        distributions[name] = {key: it[key] for key in ["kind", *NUMBER_KEYS[kind], *ENTRY_KEYS[kind]]}
        files.update(it[key] for key in ENTRY_KEYS[kind])
    steps = [step_of(step) for step in coding_steps(manifest)]
    body = {"multiple": manifest["multiple"], "latents": latents, "graphs": exact}
    body |= {"schedule": steps, "distributions": distributions}
    if manifest.get("rates"):
        body["rates"] = manifest["rates"]
    if manifest.get("pin"):
        body["pin"] = {key: manifest["pin"][key] for key in ("engine", "version", "machine")}
    text = "fastlic entropy 1\n" + json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text += "".join(f"{name}\n{manifest['members'][name]['sha256']}\n" for name in sorted(files))
    return hashlib.sha256(text.encode()).digest()[:8]
