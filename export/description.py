"""Entries of a manifest with their members, and a bundle's part for decoders.

Knows names and files; knows nothing of weights or families. Rule: docs/format.md, sections 2.1 and 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from fastlic.export.publish import array_member
from fastlic.runtime.entropy.tables import MixtureTables, RowTables
from fastlic.runtime.manifest import Manifest, MixtureSpec, Run, TableSpec


def without_encoder(manifest: Manifest, members: Mapping[str, bytes]) -> tuple[Manifest, dict[str, bytes]]:
    """The same bundle for decoders only: no analysis steps, and no graphs that only they run. The fingerprint stays."""
    decoding = {step.graph for step in manifest.schedule if isinstance(step, Run)}
    dropped = {step.graph for step in manifest.analysis} - decoding
    kept = {name: graph for name, graph in manifest.graphs.items() if name not in dropped}
    files = {manifest.graphs[name].file for name in dropped}
    return (
        msgspec.structs.replace(manifest, graphs=kept, analysis=(), shifts=()),
        {name: content for name, content in members.items() if name not in files},
    )


def mixture_members(name: str, tables: MixtureTables) -> tuple[MixtureSpec, dict[str, bytes]]:
    """A mixture's entry in the manifest, and its members."""
    arrays = {
        key: (f"tables/{name}_{key}.npy", getattr(tables, key))
        for key in ("exponential", "thresholds", "inverse_scale", "tail", "half_cdf")
    }
    spec = MixtureSpec(
        families=tables.families,  # type: ignore[arg-type]
        components=tables.components,
        skip_threshold=tables.skip_threshold,
        **{key: file for key, (file, _) in arrays.items()},
    )
    return spec, {file: array_member(array) for file, array in arrays.values()}


def table_members(name: str, tables: RowTables) -> tuple[TableSpec, dict[str, bytes]]:
    """A table's entry in the manifest, and its members."""
    arrays: dict[str, np.ndarray] = {"cdf": tables.cdf, "window": tables.window, "low": tables.low}
    files = {key: f"tables/{name}_{key}.npy" for key in arrays}
    return TableSpec(**files), {files[key]: array_member(array) for key, array in arrays.items()}


def graph_file(name: str) -> str:
    """Member name of a graph."""
    return f"graphs/{name}.onnx"
