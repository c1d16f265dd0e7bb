from __future__ import annotations

import sys

import numpy as np
import pytest

from fastlic.errors import BundleError, EngineUnavailable
from fastlic.runtime import engines

torch = pytest.importorskip("torch", reason="the oracle engine needs torch")
onnx = pytest.importorskip("onnx", reason="the oracle engine needs onnx")


@pytest.fixture
def engine():
    made = engines.create("torch", threads=1)
    yield made
    made.close()


@pytest.fixture
def product(make_single):
    x = np.zeros((2, 2), np.float32)
    return make_single("MatMul", [x, x], [np.float32])


@pytest.fixture
def careless_application():
    """Every setting that an application could have changed, changed; afterwards as before."""
    onednn = torch.backends.mkldnn
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    onednn.matmul.fp32_precision = onednn.conv.fp32_precision = "bf16"
    yield onednn
    onednn.matmul.fp32_precision = onednn.conv.fp32_precision = "none"
    torch.set_num_threads(before)


def test_exact_graph_under_careless_settings_equals_integer_product(engine, product, careless_application, rng):
    a, b = rng.integers(-500, 501, (2, 48, 48)).astype(np.float32)  # 48 * 500 * 500 < 2^24
    graph = engine.load(product, "product", exact=True)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        (out,) = graph([a, b])
        careless = (torch.from_numpy(a) @ torch.from_numpy(b)).float().numpy()

    np.testing.assert_array_equal(out, a.astype(np.int64) @ b.astype(np.int64))
    assert np.count_nonzero(careless != out) > 0, "autocast was not in force: this test cannot fail"


def test_settings_after_a_graph_are_the_applications_own(engine, product, careless_application):
    graph = engine.load(product, "product", exact=True)

    graph([np.eye(2, dtype=np.float32)] * 2)

    assert careless_application.matmul.fp32_precision == "bf16"
    assert careless_application.conv.fp32_precision == "bf16"
    assert careless_application.enabled
    assert torch.get_num_threads() == 2


def test_settings_after_a_failing_graph_are_the_applications_own(product, careless_application):
    graph = engines.create("torch", threads=1, onednn=False).load(product, "product", exact=True)

    with pytest.raises(BundleError, match="MatMul 'o0' fails"):
        graph([np.zeros((2, 3), np.float32)] * 2)

    assert careless_application.enabled
    assert careless_application.matmul.fp32_precision == "bf16"


def test_load_unknown_operator_names_it(engine, make_single):
    model = make_single("Erf", [np.zeros(1, np.float32)], [np.float32])

    with pytest.raises(BundleError, match="graph hyper: the torch engine has no operator Erf"):
        engine.load(model, "hyper", exact=True)


def test_load_operator_of_another_domain_names_both(engine, make_single):
    model = make_single("Add", [np.zeros(1, np.float32)] * 2, [np.float32], domain="vendor")

    with pytest.raises(BundleError, match=r"no operator vendor\.Add"):
        engine.load(model, "hyper", exact=True)


def test_load_damaged_model_names_graph(engine):
    with pytest.raises(BundleError, match="graph hyper: no ONNX model"):
        engine.load(b"not a model", "hyper", exact=True)


def test_call_with_too_few_inputs_says_how_many(engine, product):
    with pytest.raises(BundleError, match="has 2 inputs, the manifest gives 1"):
        engine.load(product, "product", exact=True)([np.eye(2, dtype=np.float32)])


def test_call_with_read_only_input_leaves_it_alone(engine, make_single):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    x.flags.writeable = False
    graph = engine.load(make_single("Identity", [x], [np.float32]), "same", exact=True)

    (out,) = graph([x])
    out += 1

    np.testing.assert_array_equal(x, np.arange(6).reshape(2, 3))


def test_call_after_close_raises(engine, product):
    graph = engine.load(product, "product", exact=True)
    engine.close()

    with pytest.raises(ValueError, match="was closed"):
        graph([np.eye(2, dtype=np.float32)] * 2)


@pytest.mark.parametrize("missing", ["torch", "onnx"])
def test_create_without_library_names_what_to_install(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(EngineUnavailable, match=rf"{missing} cannot be imported.*pip install 'fastlic\[export\]'"):
        engines.create("torch")


def test_info_names_threads_and_onednn():
    info = engines.create("torch", threads=2, onednn=False).info()

    assert (info.name, info.version, info.threads) == ("torch", torch.__version__, 2)
    assert info.detail == {"onednn": "off"}
