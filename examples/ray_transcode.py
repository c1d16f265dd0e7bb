"""Decode a folder or bucket of `.lic` files on a Ray cluster, into Parquet or picture files.

    pip install fastlic 'ray[data]'
    python ray_transcode.py s3://bucket/photos s3://bucket/decoded
    python ray_transcode.py photos decoded --format png

INPUT and OUTPUT are folders, or any URI that pyarrow or fsspec knows. OUTPUT gets

    records/   Parquet: path, sha256 (of the input), format, width, height, picture (a PNG; null where it is a file)
    pictures/  with --format png, jpg, ...: picture files, named like their inputs
    failed/    Parquet: path, sha256, error, message of what this run could not decode

Nothing is lost when a worker or a machine dies: Ray starts another one and gives it the same batch. Files appear whole,
by renaming, and pictures before their record; a batch that is done twice writes the same names twice. After the death
of everything, start again: an input that has a record, by its path and content, is skipped, and a failed one is tried
again. Only one run at a time may write into OUTPUT.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import ray
from pyarrow import fs

import fastlic
from fastlic.errors import FastlicError
from fastlic.runtime import bitstream, pictures

Row = dict[str, Any]

BATCH = 16  # records of one task and of one Parquet file: what is repeated when a worker dies
READ_CPUS, DECODE_CPUS = 0.1, 0.9  # a decoder and its readers share a core: however few there are, neither starves

INPUT = pa.schema(
    [("path", pa.string()), ("sha256", pa.string()), ("content", pa.large_binary()), ("error", pa.string())]
)
RECORD = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("picture", pa.large_binary()),
    ]
)
FAILURE = pa.schema([("path", pa.string()), ("sha256", pa.string()), ("error", pa.string()), ("message", pa.string())])


@dataclass(frozen=True)
class Store:
    """A folder on any filesystem. It travels to the workers."""

    filesystem: fs.FileSystem
    root: str

    @classmethod
    def at(cls, uri: str) -> Store:
        """The folder that a path or URI names."""
        if "://" not in uri:
            return cls(fs.LocalFileSystem(), Path(uri).absolute().as_posix())
        try:
            return cls(*fs.FileSystem.from_uri(uri))
        except pa.ArrowInvalid:  # none of pyarrow's own
            from fsspec.core import url_to_fs

            filesystem, root = url_to_fs(uri)
            return cls(fs.PyFileSystem(fs.FSSpecHandler(filesystem)), root)

    def files(self, suffix: str) -> list[str]:
        """Paths below the folder, relative to it."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.root, recursive=True))
        names = (info.path.removeprefix(self.root).lstrip("/") for info in found if info.is_file)
        return sorted(name for name in names if name.endswith(suffix))

    def read(self, name: str) -> bytes:
        """One file's content."""
        with self.filesystem.open_input_stream(f"{self.root}/{name}") as stream:
            return stream.read()

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file whole or not at all; an existing one is replaced."""
        target, partial = f"{self.root}/{name}", f"{self.root}/.partial/{uuid.uuid4().hex}"
        for path in (target, partial):
            self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with self.filesystem.open_output_stream(partial) as stream:
            stream.write(content)
        self.filesystem.move(partial, target)

    def write_table(self, name: str, rows: list[Row], schema: pa.Schema) -> None:
        """Write rows as a Parquet file. No rows are no file: one that an earlier attempt wrote is removed."""
        if rows:
            sink = pa.BufferOutputStream()
            pa.parquet.write_table(pa.Table.from_pylist(rows, schema), sink)
            self.write(name, sink.getvalue())
        elif self.filesystem.get_file_info(f"{self.root}/{name}").is_file:
            self.filesystem.delete_file(f"{self.root}/{name}")

    def remove(self, folder: str) -> None:
        """Remove a folder, if it is there."""
        self.filesystem.create_dir(f"{self.root}/{folder}", recursive=True)
        self.filesystem.delete_dir(f"{self.root}/{folder}")

    def finished(self, kind: str) -> set[tuple[str, str]]:
        """(path, sha256) of the inputs that have a record of this format."""
        if self.filesystem.get_file_info(f"{self.root}/records").type != fs.FileType.Directory:
            return set()
        records = pyarrow.dataset.dataset(f"{self.root}/records", RECORD, "parquet", filesystem=self.filesystem)
        table = records.to_table(["path", "sha256"], filter=pyarrow.dataset.field("format") == kind)
        return set(zip(table["path"].to_pylist(), table["sha256"].to_pylist(), strict=True))


class Transcode:
    """What one actor keeps from batch to batch: a decoder.

    Args:
        output: where results go.
        kind: "parquet", or the suffix of picture files without its dot.
        bundle: the student; None: the shipped one that wrote the file.
    """

    def __init__(self, output: Store, kind: str, bundle: bytes | None) -> None:
        self._output, self._kind = output, kind
        self._decoder = fastlic.Decoder(bundle, threads=1)

    def __call__(self, batch: pa.Table) -> Row:
        """Decode and write a batch; returns how many records and failures it gave."""
        rows = batch.to_pylist()
        records: list[Row] = []
        failures: list[Row] = []
        for row in rows:
            try:
                if row["error"]:
                    raise OSError(row["error"])
                result = self._record(row["content"])
            except (FastlicError, MemoryError, OSError) as error:
                failures.append({**_key(row), "error": type(error).__name__, "message": str(error)})
                continue
            if self._kind != "parquet":
                self._output.write(f"pictures/{row['path'].removesuffix('.lic')}.{self._kind}", result.pop("picture"))
            records.append({**_key(row), **result})
        # Named after its inputs: whoever does this batch again replaces what is there.
        name = hashlib.sha256(repr([_key(row) for row in rows]).encode()).hexdigest()
        self._output.write_table(f"failed/{name}.parquet", failures, FAILURE)
        self._output.write_table(f"records/{name}.parquet", records, RECORD)
        return {"records": [len(records)], "failures": [len(failures)]}

    def _record(self, content: bytes) -> Row:
        pixels = self._decoder.decode(content)
        metadata = bitstream.read_metadata(content, fastlic.probe(content), self._decoder.limits)
        suffix = ".png" if self._kind == "parquet" else f".{self._kind}"
        height, width = pixels.shape[:2]
        picture = pictures.to_bytes(pixels, metadata, suffix)
        return {"format": self._kind, "width": width, "height": height, "picture": picture}


def _key(row: Row) -> Row:
    return {"path": row["path"], "sha256": row["sha256"]}


def transcode(source: Store, output: Store, kind: str, *, bundle: bytes | None, decoders: int) -> tuple[int, int, int]:
    """Decode what is not finished.

    Returns:
        Numbers of records made, inputs skipped and inputs failed.
    """
    for leftover in (".partial", "failed"):
        output.remove(leftover)
    names = source.files(".lic")
    if not names:
        return 0, 0, 0
    finished = ray.put(output.finished(kind))

    def read(paths: pa.Table) -> pa.Table:
        known = ray.get(finished)
        rows: list[Row] = []
        for path in paths["path"].to_pylist():
            try:
                content = source.read(path)
            except OSError as error:
                rows.append({"path": path, "error": str(error)})
                continue
            digest = hashlib.sha256(content).hexdigest()
            if (path, digest) not in known:
                rows.append({"path": path, "sha256": digest, "content": content})
        return pa.Table.from_pylist(rows, INPUT)

    counts = (
        ray.data.from_items([{"path": name} for name in names], override_num_blocks=-(-len(names) // BATCH))
        .map_batches(read, batch_size=BATCH, batch_format="pyarrow", num_cpus=READ_CPUS)
        .map_batches(  # Ray Data restarts its actors and repeats their batches as often as it takes
            Transcode,
            fn_constructor_args=(output, kind, bundle),
            batch_size=BATCH,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=decoders),
            num_cpus=DECODE_CPUS,
        )
    )
    records = failures = 0
    for count in counts.iter_rows():
        records += count["records"]
        failures += count["failures"]
    output.remove(".partial")  # of workers that died
    return records, len(names) - records - failures, failures


def main() -> int:
    """Returns 1 if an input failed."""
    parser = argparse.ArgumentParser(description="Decode .lic files on a Ray cluster.")
    parser.add_argument("input", help="folder or URI")
    parser.add_argument("output", help="folder or URI")
    parser.add_argument("--format", default="parquet", help="parquet, or of picture files: png, jpg, webp, ...")
    parser.add_argument("--model", metavar="BUNDLE", help="student to use instead of the shipped one")
    parser.add_argument("--address", help="of a cluster; by default the one this runs in, or a local one")
    parser.add_argument("--decoders", type=int, help="actors; one per core of the cluster by default")
    asked = parser.parse_args()
    if asked.format != "parquet" and f".{asked.format}" not in pictures.FORMATS:
        parser.error(f"--format {asked.format}: parquet, or one of {', '.join(pictures.FORMATS)} without its dot")
    ray.init(asked.address)
    done, skipped, failed = transcode(
        Store.at(asked.input),
        Store.at(asked.output),
        asked.format,
        bundle=Path(asked.model).read_bytes() if asked.model else None,
        decoders=asked.decoders or max(1, int(ray.cluster_resources()["CPU"])),
    )
    print(f"{done} decoded, {skipped} finished before, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
