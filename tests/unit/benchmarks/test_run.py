"""benchmarks/run.py with the tiny student and real processes: what is measured, and that a failure costs one row."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fastlic.benchmarks import run
from fastlic.benchmarks.peers import catalogue
from fastlic.benchmarks.report import Report
from fastlic.benchmarks.run import Asked, measure
from fastlic.benchmarks.sampling import Effort
from fastlic.benchmarks.stages import ENTROPY

BRIEF = Effort(warm_up_seconds=0, warm_up_count=1, seconds=0, count=3)


@pytest.fixture
def asked(tiny_bundle: Path, tiny_picture: Path) -> Asked:
    return Asked([tiny_bundle], [tiny_picture], [], ["ort-cpu"], [1], [], False, False, BRIEF, rounds=2)


def measured(asked: Asked, folder: Path) -> Report:
    return measure(asked, folder, "fastlic bench", lambda text: None)


def test_measure_gives_latency_with_stages_memory_and_cold_start(asked: Asked, tmp_path: Path) -> None:
    report = measured(replace(asked, sizes=[(64, 64), (100, 70)]), tmp_path)

    assert report.not_run == []
    assert [(row.width, row.height) for row in report.latencies] == [(64, 64), (100, 70)]
    row = report.latencies[0]
    assert (row.student, row.engine, row.threads, row.wall.count) == ("tiny-1", "ort-cpu", 1, 3)
    assert {ENTROPY, "parse", "synthesis"} <= set(row.stages)
    assert 0 < row.stages["synthesis"].median < row.wall.median
    assert 0 < row.cold["first"] < row.start_to_picture
    assert row.host_bytes is None or 10 << 20 < row.host_bytes < 2 << 30
    assert row.device_bytes is None
    json.dumps(replace(row, samples=[]).cold)


def test_measure_reports_what_is_missing_and_goes_on(asked: Asked, tmp_path: Path) -> None:
    wanted = replace(
        asked, engines=["no-such", "ort-cpu"], pictures=[tmp_path / "absent.png", *asked.pictures], peers=["no-peer"]
    )

    report = measured(wanted, tmp_path)

    assert [row.engine for row in report.latencies] == ["ort-cpu"]
    reasons = {row.what: row.why for row in report.not_run}
    assert "there is no engine 'no-such'" in reasons["tiny-1, no-such"]
    assert "No such file" in reasons[f"picture {tmp_path / 'absent.png'}"]


def test_measure_refuses_a_bundle_that_is_none_and_goes_on(asked: Asked, tmp_path: Path) -> None:
    broken = tmp_path / "broken.licb"
    broken.write_bytes(b"nothing")

    report = measured(replace(asked, bundles=[broken, *asked.bundles]), tmp_path)

    assert [row.student for row in report.latencies] == ["tiny-1"]
    (failure,) = report.not_run
    assert failure.what == f"student {broken}"


def test_comparison_goes_on_when_a_peer_crashes(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "crashing.py"
    script.write_text("import sys; sys.stdin.readline(); raise SystemExit('segmentation fault')")
    peer = catalogue.Peer("crashing", "crashing", script, lambda: Path(sys.executable), False, True)
    monkeypatch.setattr(run, "PEERS", {**catalogue.PEERS, "crashing": peer})

    report = measured(replace(asked, peers=["crashing", "jpeg", "no-peer"]), tmp_path)

    assert [row.name for row in report.comparison] == ["fastlic", "jpeg"]
    assert report.comparison[0].ratio.median == 1
    jpeg = report.comparison[1]
    assert jpeg.psnr is not None
    assert jpeg.seconds.count == 2
    reasons = {row.what: row.why for row in report.not_run}
    assert "segmentation fault" in reasons["peer crashing"]
    assert "there is no peer 'no-peer'" in reasons["peer no-peer"]


def test_throughput_counts_every_caller_and_batch(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "usable_cores", lambda: 1)
    monkeypatch.setattr(run, "BATCHES", (2,))

    report = measured(replace(asked, throughput=True), tmp_path)

    assert [(row.streams, row.batch) for row in report.throughputs] == [(1, 2), (2, 2)]
    row = report.throughputs[0]
    assert row.megapixels_per_second == pytest.approx(row.pictures_per_second * 64 * 48 / 1e6)
