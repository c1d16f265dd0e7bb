"""The manifest: what it must hold, and what the fingerprint depends on."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from fastlic.errors import BundleError
from fastlic.runtime import manifest as manifests


def example() -> dict[str, Any]:
    port, pixels = {"name": "p", "stride": 16}, {"name": "image", "stride": 1}
    return {
        "format": [1, 0],
        "student": {"name": "tiny"},
        "multiple": 32,
        "latents": {"y": {"channels": 4, "stride": 16, "channel_map": True}},
        "graphs": {
            "analysis": {"file": "a.onnx", "scope": "picture", "exact": False, "inputs": [pixels], "outputs": [port]},
            "context": {"file": "c.onnx", "scope": "tile", "exact": True, "inputs": [port], "outputs": [port]},
            "synthesis": {"file": "s.onnx", "scope": "picture", "exact": False, "inputs": [port], "outputs": [pixels]},
        },
        "schedule": [
            {"step": "code", "latent": "y", "distribution": "prior", "channels": [0, 4], "parity": "even"},
            {"step": "run", "graph": "context", "inputs": ["y"], "outputs": ["rows"]},
            {
                "step": "code", "latent": "y", "distribution": "prior", "channels": [0, 4],
                "parity": "odd", "parameters": "rows",
            },
            {"step": "run", "graph": "synthesis", "inputs": ["y"], "outputs": ["image"]},
        ],
        "analysis": [{"step": "run", "graph": "analysis", "inputs": ["image"], "outputs": ["y"]}],
        "distributions": {"prior": {"kind": "table", "cdf": "t/cdf.npy", "window": "t/w.npy", "low": "t/low.npy"}},
        "members": {
            name: {"size": 1, "sha256": name * 2}
            for name in ("a.onnx", "c.onnx", "s.onnx", "t/cdf.npy", "t/w.npy", "t/low.npy")
        },
    }  # fmt: skip


def changed(path: str, value: Any) -> dict[str, Any]:
    """The example with the entry at a dotted path replaced, or removed if `value` is `...`."""
    tree = copy.deepcopy(example())
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    node: Any = tree
    for part in parents:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return tree


def parse(tree: dict[str, Any]) -> manifests.Manifest:
    return manifests.parse(msgspec.json.encode(tree))


def test_example_is_accepted_and_orders_latents_by_coding() -> None:
    manifest = parse(example())

    assert manifest.name == "tiny"
    assert list(manifest.coded) == ["y"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", [2, 0], "format 2"),
        ("format", ..., "format"),
        ("student", {}, "student.name is missing"),
        ("student/name", "\x1b[31mred", "cannot be printed"),
        ("latents/y/stride", 24, "stride 24 does not divide"),
        ("latents/y/stride", 0, "latents"),
        ("latents/y/stride", 32, "no parities"),
        ("members/c.onnx", ..., "c.onnx is used but not listed"),
        ("members/t/cdf.npy", ..., "t/cdf.npy is used but not listed"),
        ("schedule/1/graph", "nothing", r"schedule\[1\]: there is no graph nothing"),
        ("schedule/1/inputs", ["x"], r"schedule\[1\]: x is not computed"),
        ("schedule/1/inputs", ["y", "y"], "other numbers of inputs"),
        ("schedule/0/latent", "z", "there is no latent z"),
        ("schedule/1/outputs", ["y"], r"schedule\[1\]: y is there before"),
        ("graphs/context/exact", False, "graph context comes before the last pass and is not exact"),
        ("graphs/synthesis/scope", "tile", r"schedule\[3\]: image belongs to graphs of scope picture"),
        ("graphs/synthesis/outputs", [{"name": "p", "stride": 2}], "image must have stride 1"),
        ("graphs/synthesis/inputs", [{"name": "p", "stride": 8}], "y has stride 16, graph synthesis takes 8"),
        ("graphs/synthesis/inputs", [{"name": "p", "stride": 24}], "graphs.synthesis: stride 24 of p"),
        ("latents/image", {"channels": 1, "stride": 1}, "image is the picture's name"),
        ("latents/rate", {"channels": 1, "stride": 1}, "rate is the rate's name"),
        ("schedule/1/inputs", ["rate"], r"schedule\[1\]: rate is not computed"),
        ("graphs/context/pinned", True, "pin: no engine is named for context"),
        ("pin", {"engine": "e", "version": "1", "machine": "m"}, "pin: there, but no graph is pinned"),
        ("rates", 65536, "rates"),
        ("schedule/0/channels", [0, 5], "are outside latent y"),
        ("schedule/0/distribution", "other", "there is no distribution other"),
        ("schedule/0/parameters", "rows", r"schedule\[0\]: rows is not computed"),
        ("schedule/3/outputs", ["picture"], "schedule: image is never computed"),
        ("analysis/0/outputs", ["v"], "analysis: y is never computed"),
        ("schedule/0/step", "jump", "jump"),
        ("graphs/context/scope", "picture", "schedule: picture steps must come last"),
        ("distributions/prior/kind", "magic", "magic"),
    ],
)
def test_contradiction_is_named(path: str, value: Any, message: str) -> None:
    if path.startswith("members/t"):
        tree = example()
        del tree["members"][path.removeprefix("members/")]
    else:
        tree = changed(path, value)

    with pytest.raises(BundleError, match=message):
        parse(tree)


@pytest.mark.parametrize(
    "text", [b"", b"[1]", b'{"format": 1}', b'{"format": []}', b'{"format": ["1", 0]}', b"\xff\xfe", b'{"a":' * 100_000]
)
def test_not_a_manifest_raises(text: bytes) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        manifests.parse(text)


def pinned(**changes: Any) -> dict[str, Any]:
    """The example with its context pinned instead of exact."""
    tree = changed("graphs/context/exact", False)
    tree["graphs"]["context"]["pinned"] = True
    return {**tree, "pin": {"engine": "e", "version": "1", "machine": "m"}, **changes}


def test_pinned_graph_may_come_before_the_last_pass() -> None:
    assert parse(pinned()).graphs["context"].repeatable


def test_graph_both_exact_and_pinned_is_refused() -> None:
    tree = pinned()
    tree["graphs"]["context"]["exact"] = True

    with pytest.raises(BundleError, match="exact and pinned contradict"):
        parse(tree)


@pytest.mark.parametrize(
    "other", [{"rates": 4}, {"pin": {"engine": "e", "version": "2", "machine": "m"}}], ids=["rates", "version"]
)
def test_fingerprint_depends_on_rates_and_pin(other: dict[str, Any]) -> None:
    assert manifests.fingerprint(parse(pinned(**other))) != manifests.fingerprint(parse(pinned()))


def test_keys_of_later_additions_leave_older_fingerprints_alone() -> None:
    """A literal: shipped bundles must stay what their files name."""
    tree = example() | {"rates": 0, "pin": None}
    tree["graphs"]["context"]["pinned"] = False

    assert manifests.fingerprint(parse(tree)) == manifests.fingerprint(parse(example()))


def test_rate_may_enter_any_graph_of_a_student_of_several_rates() -> None:
    tree = changed("rates", 3)
    tree["graphs"]["context"]["inputs"].append({"name": "rate", "stride": 1})
    tree["schedule"][1]["inputs"].append("rate")

    assert parse(tree).rates == 3


def test_unknown_keys_are_ignored() -> None:
    tree = changed("graphs/context/colour", "blue")

    assert manifests.fingerprint(parse(tree)) == manifests.fingerprint(parse(example()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("multiple", 64),
        ("latents/y/channel_map", False),
        ("graphs/context/inputs", [{"name": "other", "stride": 16}]),
        ("schedule/0/parity", "odd"),
        ("distributions/prior/cdf", "t/w.npy"),
        ("members/c.onnx/sha256", "changed"),
    ],
)
def test_fingerprint_depends_on_what_symbols_depend_on(path: str, value: Any) -> None:
    assert manifests.fingerprint(parse(changed(path, value))) != manifests.fingerprint(parse(example()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("members/s.onnx/sha256", "changed"),
        ("graphs/synthesis/halo", 64),
        ("student/license", "CC0"),
        ("validation", {"psnr": 30}),
    ],
)
def test_fingerprint_ignores_what_only_pixels_depend_on(path: str, value: Any) -> None:
    assert manifests.fingerprint(parse(changed(path, value))) == manifests.fingerprint(parse(example()))
