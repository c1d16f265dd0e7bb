from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from small_hyperpriors import CONFIGURATIONS, samples, student

from fastlic.errors import CertificateError
from fastlic.export import gaussian
from fastlic.export.integer.emission import ALLOWED_OPS
from fastlic.export.integer.lattices import Lattice, quantised
from fastlic.export.integer.program import MEAN_UNIT, FloatArithmetic, encode
from fastlic.export.integer.stages import ports_of
from fastlic.export.recipe import Entropy
from fastlic.export.students.hyperprior import Parts
from fastlic.runtime import engines

ENGINES = [("ort-cpu", {"optimisation": "all"}), ("ort-cpu", {"optimisation": "none"}), ("torch", {})]


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def parts(request: pytest.FixtureRequest) -> Parts:
    return student(request.param).parts()


@pytest.fixture(scope="module")
def entropy(parts: Parts) -> Entropy:
    return gaussian.entropy_of(parts.program, parts.prior, samples(parts, 4, 16, 24), 16, 64)


@pytest.fixture(scope="module")
def lattice(parts: Parts) -> Lattice:
    met = FloatArithmetic()
    for tensors in samples(parts, 4, 16, 24):
        encode(parts.program, met, {"z": tensors["z"]}, tensors["y_float"])
    return quantised(parts.program, met)


def walk(parts: Parts, entropy: Entropy, engine: engines.Engine, z: np.ndarray, y: np.ndarray) -> None:
    """Evaluate every graph on these symbols, compare it with its oracle, and hand its outputs on."""
    tensors = {"z": z, "y": y}
    for name, graph in entropy.exact.items():
        inputs = [tensors[port.name] for port in graph.inputs]
        outputs = engine.load(graph.content, name, exact=True)(inputs)
        for port, found, wanted in zip(graph.outputs, outputs, graph.reference(inputs), strict=True):
            np.testing.assert_array_equal(found, wanted, err_msg=f"{name}, {port.name}")
            tensors[port.name] = found
    assert len(entropy.exact) == len(parts.program.stages) + any(stage.means for stage in parts.program.stages)


@pytest.mark.parametrize(("name", "options"), ENGINES, ids=str)
@pytest.mark.parametrize("size", [(4, 4), (8, 20)], ids=str)
def test_graphs_equal_the_integer_reference_bit_for_bit(parts, entropy, name, options, size) -> None:
    (tensors,) = samples(parts, 1, *size, seed=9)
    engine = engines.create(name, threads=1, **options)

    walk(parts, entropy, engine, tensors["z"], np.round(tensors["y_float"]).astype(np.int16))

    engine.close()


def test_graphs_clip_latents_beyond_the_certified_limits(parts, entropy) -> None:
    (tensors,) = samples(parts, 1, 8, 8)
    generator = np.random.default_rng(1)
    z, y = (generator.choice(np.array([-16383, 16383], np.int16), tensors[key].shape) for key in ("z", "y_float"))
    engine = engines.create("ort-cpu", threads=1)

    walk(parts, entropy, engine, z, y)

    engine.close()


def test_graphs_have_only_allowed_operators_and_certificates(entropy) -> None:
    for graph in entropy.exact.values():
        operators = {node.op_type for node in onnx.load_from_string(graph.content).graph.node}
        assert operators <= ALLOWED_OPS
        assert "Clip" in operators
        assert graph.certificates


def test_integer_networks_code_like_the_float_model(parts, lattice) -> None:
    (tensors,) = samples(parts, 1, 16, 24, seed=5)

    by_float, by_integers = (
        encode(parts.program, arithmetic, {"z": tensors["z"]}, tensors["y_float"])
        for arithmetic in (FloatArithmetic(), lattice)
    )

    wanted, found = (sum(map(gaussian.normal_bits, passes)) for passes in (by_float, by_integers))
    assert found == pytest.approx(wanted, rel=0.01)
    pairs = list(zip(by_float, by_integers, strict=True))
    differing = sum(int((one.symbols != other.symbols).sum()) for one, other in pairs)
    assert differing <= 0.03 * parts.channels * 16 * 24
    for one, other in pairs:  # later passes see other symbols at a few places, so the middle is what can be compared
        assert np.median(np.abs(one.numbers - other.numbers)) <= 1
    means = [coded.numbers[..., coded.stage.count :] for coded in pairs[0]]
    assert np.abs(means[0] - means[1]).max(initial=0) < 0.25 * MEAN_UNIT


def test_odd_pass_depends_on_the_even_one_and_not_on_itself(lattice) -> None:
    stages = lattice.program.stages
    if stages[0].parity == "all":
        pytest.skip("no checkerboard")
    even, odd = stages[:2]
    generator = np.random.default_rng(2)
    z = generator.integers(-3, 4, (4, 2, 2))
    y = generator.integers(-5, 6, (6, 8, 8))
    mask = odd.mask(8, 8)

    def numbers(symbols: np.ndarray) -> np.ndarray:
        maps: dict[str, np.ndarray] = {}
        means = {even.name: lattice.evaluate(even, maps, {"z": z, "y": symbols}, {})[..., even.count :]}
        return lattice.evaluate(odd, maps, {"z": z, "y": symbols}, means)

    np.testing.assert_array_equal(numbers(y), numbers(np.where(mask, y + 7, y)))
    assert (numbers(y) != numbers(np.where(mask, y, y + 7))).any()


def test_layer_fed_more_than_it_was_proved_for_is_refused(lattice) -> None:
    node = lattice.program.stages[0].nodes[0]
    layer = lattice.layers[node.name]
    narrow = tuple(replace(product, limit=product.limit - 1) for product in layer.products)
    changed = replace(lattice, layers={**lattice.layers, node.name: replace(layer, products=narrow)})

    lattice.certify()
    with pytest.raises(CertificateError, match="larger than its certificate assumes"):
        changed.certify()


def test_ports_name_what_stages_hand_on(parts) -> None:
    known = {"z", "y"}
    for stage in parts.program.stages:
        inputs, outputs = ports_of(parts.program, stage)
        assert set(inputs) <= known
        known |= set(outputs)
        assert stage.parameters_tensor == outputs[0]


def test_packed_elements_come_back_to_their_places(parts) -> None:
    grid = np.arange(4 * 6 * 3).reshape(4, 6, 3)

    total = sum(stage.unpack(stage.pack(grid), 6) for stage in parts.program.stages[:2])

    np.testing.assert_array_equal(total, grid)
