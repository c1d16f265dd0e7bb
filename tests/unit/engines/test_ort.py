from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fastlic.errors import BundleError, EngineUnavailable
from fastlic.runtime import engines
from fastlic.runtime.engines import ort_sessions
from fastlic.runtime.engines.ort_sessions import TELEMETRY_SWITCH


@pytest.fixture
def engine():
    made = engines.create("ort-cpu", threads=1)
    yield made
    made.close()


@pytest.fixture
def doubling(make_single):
    x = np.zeros((2, 3), np.float32)
    return make_single("Add", [x, x], [np.float32])


@pytest.mark.parametrize("damage", [lambda model: b"", lambda model: b"not a model", lambda model: model[:-9]])
def test_load_damaged_model_names_graph_and_remedy(engine, doubling, damage):
    with pytest.raises(BundleError, match=r"graph hyper: .*damaged or needs a newer onnxruntime"):
        engine.load(damage(doubling), "hyper", exact=True)


def test_load_unknown_operator_names_it(engine, make_single):
    model = make_single("Abs", [np.zeros(1, np.float32)], [np.float32]).replace(b"Abs", b"Axs")

    with pytest.raises(BundleError, match="Axs"):
        engine.load(model, "hyper", exact=True)


def test_call_with_too_few_inputs_says_how_many(engine, doubling):
    graph = engine.load(doubling, "hyper", exact=True)

    with pytest.raises(BundleError, match="has 2 inputs, the manifest gives 1"):
        graph([np.zeros((2, 3), np.float32)])


def test_call_with_wrong_dtype_names_what_was_given(engine, doubling):
    graph = engine.load(doubling, "hyper", exact=True)
    x = np.zeros((2, 3), np.int16)

    with pytest.raises(BundleError, match=r"graph hyper: fails on int16 \(2, 3\)"):
        graph([x, x])


def test_call_result_survives_the_next_call(engine, doubling):
    graph = engine.load(doubling, "double", exact=True)
    x = np.full((2, 3), 1, np.float32)
    (first,) = graph([x, x])

    graph([x * 5, x * 5])

    np.testing.assert_array_equal(first, x * 2)


def test_call_after_close_raises(engine, doubling):
    graph = engine.load(doubling, "double", exact=True)
    engine.close()

    with pytest.raises(ValueError, match="was closed"):
        graph([np.zeros((2, 3), np.float32)] * 2)


def test_lack_of_memory_takes_every_session_away_and_the_next_call_makes_another(engine, doubling):
    graph, other = (engine.load(doubling, name, exact=True) for name in ("double", "other"))
    x = np.full((2, 3), 1, np.float32)

    class Short:
        def run(self, *_):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 8")

    graph.session = Short()
    with pytest.raises(MemoryError, match=r"graph double: not enough memory for float32 \(2, 3\)"):
        graph([x, x])

    assert graph.session is None
    assert other.session is None
    np.testing.assert_array_equal(graph([x, x])[0], x * 2)
    np.testing.assert_array_equal(other([x, x])[0], x * 2)


def test_call_without_headroom_is_refused_before_the_engine_can_abort(engine, doubling, monkeypatch):
    graph = engine.load(doubling, "double", exact=True)
    x = np.zeros((2, 3), np.float32)
    with monkeypatch.context() as short:
        short.setattr(ort_sessions, "HEADROOM", 1 << 60)
        with pytest.raises(MemoryError, match=r"graph double: less than \d+ MiB of memory are left"):
            graph([x, x])

    np.testing.assert_array_equal(graph([x, x])[0], x)


def test_engine_that_nobody_closed_goes_with_its_last_user(doubling):
    engine = engines.create("ort-cpu", threads=1)
    session = weakref.ref(engine.load(doubling, "double", exact=True).session)
    gc.disable()
    try:
        del engine
        assert session() is None
    finally:
        gc.enable()


def test_failing_graph_writes_nothing_to_stderr(engine, doubling, capfd):
    graph = engine.load(doubling, "double", exact=True)

    with pytest.raises(BundleError):
        graph([np.zeros((2, 3), np.float32), np.zeros((5, 7), np.float32)])

    assert capfd.readouterr().err == ""


def test_create_unknown_optimisation_lists_levels():
    with pytest.raises(ValueError, match="none, basic, extended, all"):
        engines.create("ort-cpu", optimisation="most")


def test_create_old_onnxruntime_asks_for_an_update(monkeypatch):
    monkeypatch.setattr(onnxruntime, "__version__", "1.22.0")

    with pytest.raises(EngineUnavailable, match=r"1\.22\.0 has no DeformConv.*>=1\.31"):
        engines.create("ort-cpu")


def test_info_names_version_threads_and_level():
    info = engines.create("ort-cpu", threads=2, optimisation="basic").info()

    assert (info.name, info.version, info.threads) == ("ort-cpu", onnxruntime.__version__, 2)
    assert info.detail["optimisation"] == "basic"


@pytest.mark.parametrize(("wish", "found"), [(None, "1"), ("0", "0")])
def test_onnxruntime_reports_nothing_unless_the_user_wishes(tmp_path, wish, found):
    script = "import os; from fastlic.runtime import engines; engines.create('ort-cpu'); print(os.environ[{!r}])"
    unset = {TELEMETRY_SWITCH, "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(tmp_path)}
    environment |= {} if wish is None else {TELEMETRY_SWITCH: wish}
    command = [sys.executable, "-c", script.format(TELEMETRY_SWITCH)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)

    assert done.stdout.strip() == found
    if wish is None:  # what was to be reported would lie in a database in the user's cache
        assert list(tmp_path.rglob("*")) == []


def _resident_growth(script: str, model: Path) -> int:
    """Run `script`, which prints a percentage, in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(script), str(model)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads resident memory from /proc")
def test_memory_over_many_shapes_does_not_grow(tmp_path, make_lattice, rng):
    """The largest shape comes first; a thousand other shapes may not add a tenth to what it took."""
    model = tmp_path / "lattice.onnx"
    model.write_bytes(make_lattice(rng, channels=16))

    growth = _resident_growth(
        """
        import sys
        from pathlib import Path
        import numpy as np
        from fastlic.runtime import engines

        def resident():
            lines = Path("/proc/self/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

        engine = engines.create("ort-cpu", threads=1)
        graph = engine.load(Path(sys.argv[1]).read_bytes(), "lattice", True)
        before = resident()
        graph([np.zeros((16, 256, 256), np.int16)])
        largest = resident()
        for number in range(1000):
            graph([np.zeros((16, 1 + number % 40, 1 + number // 25), np.int16)])
        print(max(0, resident() - largest) * 100 // (largest - before))
        """,
        model,
    )

    assert growth <= 10
