"""A TensorRT on the host: its programming interface as far as fastlic uses it, with ONNX Runtime underneath.

`module` stands in for `tensorrt` or `tensorrt_rtx`. Engines run on the emulated CUDA driver: `execute_async_v3` queues
work that reads and writes device memory at the addresses that were set. That the names and signatures here are NVIDIA's
own is what test_tensorrt_binding.py says of everything that fastlic calls.
"""

from __future__ import annotations

import enum
import json
import math
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from emulation.cuda import EmulatedCuda
from onnx import TensorProto, helper

Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")
DataType = enum.Enum("DataType", "FLOAT HALF INT32 INT64 BOOL UINT8")
_TYPES = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT64,
    TensorProto.BOOL: DataType.BOOL,
    TensorProto.UINT8: DataType.UINT8,
}
_NUMPY = {DataType.FLOAT: np.float32, DataType.UINT8: np.uint8, DataType.INT32: np.int32, DataType.INT64: np.int64}


class FakeTensorRT:
    """One library on one emulated device.

    Args:
        cuda: the driver that engines run on.
        version: of the library.

    Attributes:
        built: names of the graphs' outputs, for each engine built.
        deserialised: how many engines were.
        spoil: changes the inspector's layers, to play a library that builds something else.
        timings_given: the timing cache of each build.
        libraries: paths of plugin libraries that were loaded.
        continued: what each context was given of what the device had compiled before.
    """

    def __init__(self, cuda: EmulatedCuda, version: str = "11.4.0.106") -> None:
        self.cuda = cuda
        self.built: list[str] = []
        self.deserialised = 0
        self.spoil = lambda layers: layers
        self.timings_given: list[bytes] = []
        self.libraries = Libraries()
        self.continued: list[bytes] = []
        fake = self

        class ILogger:
            pass

        ILogger.Severity = Severity  # type: ignore[attr-defined]
        self.module = SimpleNamespace(
            __version__=version,
            ILogger=ILogger,
            DataType=DataType,
            BuilderFlag=enum.Enum("BuilderFlag", "TF32"),
            NetworkDefinitionCreationFlag=enum.IntEnum("Flag", {"STRONGLY_TYPED": 1, "PREFER_AOT_PYTHON_PLUGINS": 2}),
            ProfilingVerbosity=enum.Enum("ProfilingVerbosity", "DETAILED"),
            LayerInformationFormat=enum.Enum("LayerInformationFormat", "JSON"),
            TensorIOMode=enum.Enum("TensorIOMode", "INPUT OUTPUT"),
            ComputeCapability=enum.Enum("ComputeCapability", "NONE CURRENT SM75 SM86 SM89 SM90 SM120"),
            Builder=lambda logger: Builder(fake),
            OnnxParser=Parser,
            Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda content: Engine(fake, content)),
            nptype=_NUMPY.__getitem__,
            get_plugin_registry=lambda: SimpleNamespace(load_library=self.libraries.append),
            init_libnvinfer_plugins=lambda logger, namespace: True,
        )


class Libraries(list[str]):
    """Plugin libraries that were loaded."""

    def append(self, path: str) -> Any:
        super().append(path)
        return object()  # a handle


class Network:
    """What the parser fills."""

    def __init__(self) -> None:
        self.model: Any = None
        self.inputs: list[Any] = []
        self.num_inputs = self.num_layers = 0

    def get_input(self, number: int) -> Any:
        return self.inputs[number]

    def get_layer(self, number: int) -> Any:
        node = self.model.graph.node[number]
        kinds = [SimpleNamespace(dtype=self.kinds.get(name)) for name in node.output]
        return SimpleNamespace(num_outputs=len(kinds), get_output=kinds.__getitem__)

    @cached_property
    def kinds(self) -> dict[str, DataType]:
        inferred = onnx.shape_inference.infer_shapes(self.model)
        return {
            info.name: _TYPES[info.type.tensor_type.elem_type]
            for info in (*inferred.graph.value_info, *inferred.graph.output)
        }


class Parser:
    """Takes what TensorRT takes: no int16, and no operator of another domain."""

    def __init__(self, network: Network, logger: Any) -> None:
        self._network, self._errors = network, list[str]()

    def parse(self, content: bytes) -> bool:
        model = onnx.load_from_string(content)
        kinds = {tensor.data_type for tensor in model.graph.initializer}
        kinds |= {port.type.tensor_type.elem_type for port in (*model.graph.input, *model.graph.output)}
        if TensorProto.INT16 in kinds:
            self._errors.append("Unsupported ONNX data type: INT16 (5)")
            return False
        self._network.model = model
        self._network.num_layers = len(model.graph.node)
        for port in model.graph.input:
            shape = tuple(size.dim_value or -1 for size in port.type.tensor_type.shape.dim)
            self._network.inputs.append(SimpleNamespace(name=port.name, shape=shape))
        self._network.num_inputs = len(self._network.inputs)
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, number: int) -> Any:
        return SimpleNamespace(desc=lambda: self._errors[number])


class Builder:
    """Makes an engine of a network: its model with its shapes, in JSON and ONNX."""

    def __init__(self, fake: FakeTensorRT) -> None:
        self._fake = fake

    def create_network(self, flags: int) -> Network:
        assert flags & 2, "networks are strongly typed"
        return Network()

    def create_builder_config(self) -> Any:
        config = SimpleNamespace(cleared=[], timings=None, profiling_verbosity=None, num_compute_capabilities=0)
        config.clear_flag = config.cleared.append
        config.create_timing_cache = lambda content: SimpleNamespace(serialize=lambda: content + b"+1", given=content)
        config.set_timing_cache = lambda cache, ignore: setattr(config, "timings", cache)
        config.set_compute_capability = lambda capability, index: None
        return config

    def build_serialized_network(self, network: Network, config: Any) -> bytes:
        assert [flag.name for flag in config.cleared] == ["TF32"]
        self._fake.built.append(network.model.graph.output[0].name)
        if config.timings is not None:
            self._fake.timings_given.append(config.timings.given)
        shapes = {tensor.name: list(tensor.shape) for tensor in network.inputs}
        half = DataType.HALF in network.kinds.values()
        layers = [{"Name": node.name, "Outputs": "FP16" if half else "Float"} for node in network.model.graph.node]
        head = json.dumps({"shapes": shapes, "layers": layers}).encode()
        return len(head).to_bytes(4, "little") + head + network.model.SerializeToString()


class Engine:
    """A deserialised engine."""

    def __init__(self, fake: FakeTensorRT, content: bytes) -> None:
        fake.cuda.require_context()
        fake.deserialised += 1
        length = int.from_bytes(content[:4], "little")
        head = json.loads(content[4 : 4 + length])
        self.fake, self.layers = fake, head["layers"]
        model = onnx.load_from_string(content[4 + length :])
        for port in model.graph.input:
            shape = head["shapes"][port.name]
            port.CopyFrom(helper.make_tensor_value_info(port.name, port.type.tensor_type.elem_type, shape))
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 4, 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.shapes = {name: tuple(shape) for name, shape in head["shapes"].items()}
        blank = self.session.run(None, {name: np.zeros(shape, self._kind(name)) for name, shape in self.shapes.items()})
        self._outputs = [port.name for port in self.session.get_outputs()]
        self.shapes |= {name: array.shape for name, array in zip(self._outputs, blank, strict=True)}
        self.num_io_tensors = len(self.shapes)

    def get_tensor_name(self, number: int) -> str:
        return list(self.shapes)[number]

    def get_tensor_mode(self, name: str) -> Any:
        return getattr(self.fake.module.TensorIOMode, "OUTPUT" if name in self._outputs else "INPUT")

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> DataType:
        return next(kind for kind, found in _NUMPY.items() if found == self._kind(name))

    def create_engine_inspector(self) -> Any:
        text = json.dumps({"Layers": self.fake.spoil(self.layers)})
        return SimpleNamespace(get_engine_information=lambda form: text)

    def create_runtime_config(self) -> Any:
        cache = SimpleNamespace(content=b"")
        cache.deserialize = lambda content: setattr(cache, "content", content)
        cache.serialize = lambda: b"compiled"
        return SimpleNamespace(
            create_runtime_cache=lambda: cache,
            set_runtime_cache=lambda given: self.fake.continued.append(given.content),
        )

    def create_execution_context(self, config: Any = None) -> Context:
        return Context(self)

    def _kind(self, name: str) -> Any:
        ports = (*self.session.get_inputs(), *self.session.get_outputs())
        kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32}
        return next(kinds[port.type] for port in ports if port.name == name)


class Context:
    """Runs an engine on a stream. It has some device memory, as TensorRT's has."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._addresses = engine, dict[str, int]()
        self._scratch = engine.fake.cuda.allocate(1024)

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        self._addresses[name] = pointer
        return name in self._engine.shapes

    def execute_async_v3(self, stream: int) -> bool:
        engine, cuda, addresses = self._engine, self._engine.fake.cuda, self._addresses  # work may outlive the context
        cuda.require_context()

        def memory(name: str) -> np.ndarray:
            kind, shape = np.dtype(engine._kind(name)), engine.shapes[name]
            return cuda.at(addresses[name], math.prod(shape) * kind.itemsize).view(kind).reshape(shape)

        def work() -> None:
            feeds = {port.name: memory(port.name) for port in engine.session.get_inputs()}
            for name, result in zip(engine._outputs, engine.session.run(None, feeds), strict=True):
                memory(name)[...] = result

        cuda.enqueue(stream, work)
        return True

    def __del__(self) -> None:
        if self._scratch.ctypes.data in self._engine.fake.cuda.live:
            self._engine.fake.cuda.free(self._scratch.ctypes.data)
