"""The manifest of a Fu 2023 student: which latents, graphs, steps and tables its bundle has.

Knows names and strides; knows nothing of weights. Rule: docs/format.md, sections 2.1 and 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from fastlic.export.publish import array_member
from fastlic.export.students.configuration import Fu2023Configuration
from fastlic.runtime.entropy.tables import MixtureTables, RowTables
from fastlic.runtime.manifest import (
    FORMAT,
    IMAGE,
    Code,
    GraphSpec,
    Latent,
    Manifest,
    MixtureSpec,
    Port,
    Run,
    TableSpec,
)

MULTIPLE = 64
Y_STRIDE = 16
GRAPHS = ("analysis", "hyper_analysis", "hyper", "context", "synthesis")
EXACT = ("hyper", "context")


def manifest_of(
    configuration: Fu2023Configuration,
    student: Mapping[str, Any],
    distributions: Mapping[str, MixtureSpec | TableSpec],
    halos: Mapping[str, int],
) -> Manifest:
    """A manifest without members, certificates, validation and conformance.

    Args:
        configuration: of the checkpoint.
        student: the card; `name` is required.
        distributions: "prior", "anchors" and "nonanchors".
        halos: pixels, for "analysis" and "synthesis".
    """
    first, second = ("even", "odd") if configuration.parity == 0 else ("odd", "even")
    channels = (0, configuration.M)
    return Manifest(
        format=FORMAT,
        student=dict(student),
        multiple=MULTIPLE,
        latents={
            "z": Latent(configuration.hyper_channels, MULTIPLE),
            "y": Latent(configuration.M, Y_STRIDE, channel_map=True),
        },
        graphs=_graphs(halos),
        schedule=(
            Code("z", "prior", (0, configuration.hyper_channels)),
            Run("hyper", ("z",), ("anchor_parameters", "hyper")),
            Code("y", "anchors", channels, first, "anchor_parameters"),  # type: ignore[arg-type]
            Run("context", ("hyper", "y"), ("nonanchor_parameters",)),
            Code("y", "nonanchors", channels, second, "nonanchor_parameters"),  # type: ignore[arg-type]
            Run("synthesis", ("y",), (IMAGE,)),
        ),
        analysis=(Run("analysis", (IMAGE,), ("y_float", "y")), Run("hyper_analysis", ("y_float",), ("z",))),
        distributions=dict(distributions),
        members={},
    )


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


def _graphs(halos: Mapping[str, int]) -> dict[str, GraphSpec]:
    image, y, z = Port(IMAGE, 1), Port("y", Y_STRIDE), Port("z", MULTIPLE)
    y_float, hyper = Port("y_float", Y_STRIDE), Port("hyper", Y_STRIDE)
    ports = {
        "analysis": ((image,), (y_float, y)),
        "hyper_analysis": ((y_float,), (z,)),
        "hyper": ((z,), (Port("anchor_parameters", Y_STRIDE), hyper)),
        "context": ((hyper, y), (Port("nonanchor_parameters", Y_STRIDE),)),
        "synthesis": ((y,), (image,)),
    }
    return {
        name: GraphSpec(
            file=graph_file(name),
            scope="picture" if name in halos else "tile",
            exact=name in EXACT,
            inputs=inputs,
            outputs=outputs,
            halo=halos.get(name, 0),
        )
        for name, (inputs, outputs) in ports.items()
    }
