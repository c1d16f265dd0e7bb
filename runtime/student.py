"""A bundle loaded into an engine, and its schedule cut into the parts that encoder and decoder run.

Knows which steps belong to tiles and which to whole pictures; knows nothing of bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastlic.errors import CorruptedStream, RateUnavailable
from fastlic.runtime.bundle import Bundle
from fastlic.runtime.engines import Engine, Graph
from fastlic.runtime.engines.device import DeviceEngine
from fastlic.runtime.manifest import IMAGE, RATE, Code, Run
from fastlic.runtime.schedule import Timings, run, run_in_windows
from fastlic.runtime.tiles import Box, fed

if TYPE_CHECKING:
    from fastlic.runtime.device.student import DeviceStudent


class Student:
    """A bundle whose graphs are loaded into an engine, on first use. Safe to share between threads.

    Attributes:
        coding_steps: the schedule up to its last pass: what an encoder runs.
        tile_steps, picture_steps: the schedule cut where whole pictures begin.
        synthesis_strides: tensor -> pixels per element, for what the picture steps need of the tiles.
        mapped: latent -> channels, for latents with a channel map, in order of first coding.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self._engine = engine
        self._on_device: DeviceStudent | None = None
        self._lock = threading.Lock()
        self.graphs: Mapping[str, Graph] = LoadedGraphs(bundle, engine)
        self.distributions = {name: bundle.distribution(name) for name in bundle.manifest.distributions}
        steps = self.manifest.schedule
        last = max(number for number, step in enumerate(steps) if isinstance(step, Code))
        self.coding_steps = steps[: last + 1]
        self.tile_steps = tuple(step for step in steps if not self._whole_picture(step))
        self.picture_steps = tuple(step for step in steps if isinstance(step, Run) and self._whole_picture(step))
        computed = self._strides("outputs", self.picture_steps)
        self.synthesis_strides = {
            name: stride
            for name, stride in self._strides("inputs", self.picture_steps).items()
            if name not in computed and name != RATE
        }
        self.analysis_strides = self._strides("outputs", self.manifest.analysis)
        self.mapped = self.manifest.mapped

    def _whole_picture(self, step: Run | Code) -> bool:
        return isinstance(step, Run) and self.manifest.graphs[step.graph].scope == "picture"

    def _strides(self, side: Literal["inputs", "outputs"], steps: Iterable[Run]) -> dict[str, int]:
        """Tensor -> pixels per element, for the inputs or outputs of some steps."""
        return {
            name: port.stride
            for step in steps
            for name, port in zip(getattr(step, side), getattr(self.manifest.graphs[step.graph], side), strict=True)
        }

    def on_device(self) -> DeviceStudent | None:
        """The student on its engine's device, or None with an engine whose tensors live on the host.

        Raises:
            KernelsUnavailable: fastlic was installed without kernels for the device.
        """
        if not isinstance(self._engine, DeviceEngine):
            return None
        from fastlic.runtime.device.student import DeviceStudent

        with self._lock:
            if self._on_device is None:
                self._on_device = DeviceStudent(self, self._engine)
            return self._on_device

    def close(self) -> None:
        """Release what is on a device, and the bundle. The engine is the caller's."""
        with self._lock:
            on_device, self._on_device = self._on_device, None
        if on_device is not None:
            on_device.close()
        self.bundle.close()

    def rate(self, asked: int | None) -> int:
        """The number of a rate as the header carries it: `asked`, or the middle one; 0 with a student of one rate.

        Raises:
            RateUnavailable: the student does not have it.
        """
        rates = self.manifest.rates
        if asked is None:
            return (rates + 1) // 2
        if not 1 <= asked <= rates:
            has = f"rates 1 to {rates}" if rates else "one rate only"
            raise RateUnavailable(
                f"{self.manifest.name} has {has}; {asked} was asked for. Leave it out or choose another."
            )
        return asked

    def given(self, rate: int) -> dict[str, np.ndarray]:
        """The tensors that are there before any step: the rate as int32 (1,), for a student of several.

        Raises:
            CorruptedStream: a header's rate is none of the student's.
        """
        rates = self.manifest.rates
        if not (1 <= rate <= rates if rates else rate == 0):
            raise CorruptedStream(f"header: rate {rate}, but {self.manifest.name} has {rates or 'one, numbered 0'}.")
        return {RATE: np.array([rate], np.int32)} if rates else {}

    def areas(self, region: Box, padded: Box) -> dict[str, Box]:
        """What the picture steps need of each tensor to make a region of the picture.

        Args:
            region: in pixels.
            padded: the padded picture.

        Returns:
            Tensor -> a part of the padded picture, in pixels: the region itself for the image; for others with edges
            that are multiples of the padding multiple, wider by the halos of the steps that follow.
        """
        multiple = self.manifest.multiple
        areas = {IMAGE: region}
        for step in reversed(self.picture_steps):
            wanted = reduce(Box.joined, (areas.get(name, region) for name in step.outputs)).aligned(multiple)
            areas = dict.fromkeys(step.outputs, wanted) | areas
            needed = fed(wanted, padded, multiple, self.manifest.graphs[step.graph].halo)
            areas |= {name: needed.joined(areas.get(name, needed)) for name in step.inputs}
        return areas

    def analyse(self, padded: Box, image: np.ndarray, timings: Timings | None, rate: int = 0) -> dict[str, np.ndarray]:
        """Run the picture-scope analysis steps on a padded picture."""
        tensors = {IMAGE: image, **self.given(rate)}
        for step in self.manifest.analysis:
            if self._whole_picture(step):
                run_in_windows(self.manifest, step, padded, tensors, self.graphs, timings)
        return tensors

    def analyse_tile(
        self, box: Box, tensors: Mapping[str, np.ndarray], timings: Timings | None
    ) -> dict[str, np.ndarray]:
        """Cut one tile out of the picture's tensors and run the tile-scope analysis steps on it."""
        tile = {RATE: tensors[RATE]} if RATE in tensors else {}
        for name, tensor in tensors.items():
            if name not in (IMAGE, RATE):
                rows, columns = box.scaled(self.analysis_strides[name]).slices
                tile[name] = np.ascontiguousarray(tensor[..., rows, columns])
        for step in self.manifest.analysis:
            if not self._whole_picture(step):
                run(step, tile, self.graphs, timings)
        return tile


class LoadedGraphs(Mapping[str, Graph]):
    """Graphs by name, loaded once when first asked for."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self._bundle, self._engine = bundle, engine
        self._loaded: dict[str, Graph] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Graph:
        with self._lock:
            if name not in self._loaded:
                spec = self._bundle.manifest.graphs[name]
                self._loaded[name] = self._engine.load(self._bundle.graph(name), name, spec.repeatable)
            return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._bundle.manifest.graphs)

    def __len__(self) -> int:
        return len(self._bundle.manifest.graphs)
