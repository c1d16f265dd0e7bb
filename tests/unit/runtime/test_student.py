from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import tiny_student

from fastlic.runtime import engines
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines import Engine, Graph
from fastlic.runtime.student import LoadedGraphs, Student


class CountingEngine:
    """Counts how often each graph is loaded."""

    name = "counting"

    def __init__(self) -> None:
        self.loads: Counter[str] = Counter()
        self._engine: Engine = engines.create("ort-cpu", threads=1)

    def load(self, model: bytes, name: str, exact: bool) -> Graph:
        self.loads[name] += 1
        return self._engine.load(model, name, exact)

    def info(self) -> engines.EngineInfo:
        return self._engine.info()

    def close(self) -> None:
        self._engine.close()


def test_schedule_is_cut_where_tiles_and_coding_end() -> None:
    with Bundle(tiny_student.bundle_bytes()) as bundle:
        student = Student(bundle, CountingEngine())

    assert student.tile_steps == student.coding_steps == bundle.manifest.schedule[:5]
    assert student.picture_steps == bundle.manifest.schedule[5:]
    assert student.synthesis_strides == {"y": 16}
    assert student.analysis_strides == {"y_float": 16, "y": 16, "z": 64}
    assert student.mapped == {"y": 8}


def test_graphs_are_not_loaded_before_they_are_used() -> None:
    engine = CountingEngine()
    with Bundle(tiny_student.bundle_bytes()) as bundle:
        graphs = LoadedGraphs(bundle, engine)

        assert set(graphs) == set(tiny_student.GRAPHS)
        assert len(graphs) == 5
        assert not engine.loads


def test_graph_wanted_by_many_threads_is_loaded_once() -> None:
    engine = CountingEngine()
    with Bundle(tiny_student.bundle_bytes()) as bundle, ThreadPoolExecutor(8) as pool:
        graphs = LoadedGraphs(bundle, engine)

        found = list(pool.map(graphs.__getitem__, ["hyper", "synthesis"] * 20))

    assert len({id(graph) for graph in found}) == 2
    assert engine.loads == {"hyper": 1, "synthesis": 1}
