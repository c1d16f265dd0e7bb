"""A report with a row of everything, as one that was measured would look, and files of the tiny student."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_student
from PIL import Image

from fastlic.benchmarks.measure import Summary
from fastlic.benchmarks.report import KernelRow, Latency, NotRun, PeerRow, Report, Throughput


def _latency(engine: str, threads: int, width: int, height: int, seconds: float) -> Latency:
    samples = [seconds * (1 + 0.01 * (turn % 5)) for turn in range(20)]
    return Latency(
        student="tiny",
        engine=engine,
        version="1.0",
        device="cpu",
        threads=threads,
        detail={},
        picture="cat",
        width=width,
        height=height,
        size_bytes=width * height // 20,
        psnr=31.5,
        wall=Summary.of(samples),
        processor=Summary.of([2 * value for value in samples]),
        stages={
            "entropy decoding": Summary.of([0.1 * seconds] * 2),
            "code z all": Summary.of([0.04 * seconds] * 2),
            "hyper": Summary.of([0.2 * seconds] * 2),
            "code y even": Summary.of([0.06 * seconds] * 2),
            "synthesis": Summary.of([0.6 * seconds] * 2),
        },
        samples=samples,
        cold={"import": 0.01, "open": 0.02, "first": 0.3},
        start_to_picture=0.5,
        host_bytes=200 << 20,
        device_bytes=None,
        clocks={"processor_mhz": [2000.0, 2500.0], "throttled": []},
    )


@pytest.fixture
def report() -> Report:
    """Two engines, two sizes, a peer, a kernel, and something that could not be run."""
    one = Summary(15, 1.0, 1.0, 1.0)
    return Report(
        command="fastlic bench cat.png --json out.json --table growth",
        host={
            "date": "2026-11-21 05:00 UTC",
            "processor": "Test & Co",
            "cores": 2,
            "system": "Linux x86_64",
            "python": "3.11",
            "numpy": "2.0",
            "onnxruntime": "1.31.1",
            "load": 0.1,
        },
        latencies=[
            _latency(engine, threads, width, height, seconds * width * height / 4e5)
            for engine, threads, seconds in (("ort-cpu", 1, 0.2), ("ort-cpu", 2, 0.12))
            for width, height in ((256, 256), (768, 512))
        ],
        throughputs=[Throughput("tiny", "ort-cpu", 1, 2, 8, "cat 768x512", 11.5, 4.6)],
        comparison=[
            PeerRow("fastlic", "tiny", "ort-cpu 1.31.1", 0.36, 31.5, Summary(15, 0.12, 0.11, 0.13), one, one),
            PeerRow("elic2022", "ELIC", "compressai 1.2.8", 0.31, None, Summary(15, 1.0, 0.9, 1.1),
                    Summary(15, 0.12, 0.11, 0.13), Summary(15, 0.1, 0.1, 0.1)),
        ],
        comparison_threads=2,
        roofline={"copy GB/s": 12.0, "matrix product GFLOP/s": 130.0},
        kernels=[
            KernelRow("Conv", "64", "fastlic", Summary(10, 0.01, 0.01, 0.01), 1e9, 5e7, 0.008, "arithmetic"),
        ],
        not_run=[NotRun("tiny, ort-cuda", "there is no GPU <here>")],
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny student as a file."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.licb"
    path.write_bytes(tiny_student.bundle_bytes())
    return path


@pytest.fixture(scope="session")
def tiny_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of 64x48 pixels."""
    path = tmp_path_factory.mktemp("picture") / "cat.png"
    Image.fromarray(tiny_student.picture(48, 64)).save(path)
    return path
