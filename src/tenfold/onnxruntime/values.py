"""onnxruntime's tensors with a place: OrtValue, and IOBinding, which keeps them between calls."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.onnxruntime import failures

if TYPE_CHECKING:
    from tenfold.onnxruntime.session import InferenceSession

Array = NDArray[Any]

_NAMES: dict[DType, tuple[str, int]] = {
    dt.f32: ("float", 1),
    dt.u8: ("uint8", 2),
    dt.i8: ("int8", 3),
    dt.u16: ("uint16", 4),
    dt.i16: ("int16", 5),
    dt.i32: ("int32", 6),
    dt.i64: ("int64", 7),
    dt.string: ("string", 8),
    dt.boolean: ("bool", 9),
    dt.f16: ("float16", 10),
    dt.f64: ("double", 11),
    dt.u32: ("uint32", 12),
    dt.u64: ("uint64", 13),
    dt.c64: ("complex64", 14),
    dt.c128: ("complex128", 15),
    dt.bf16: ("bfloat16", 16),
    dt.f8e4m3fn: ("float8e4m3fn", 17),
    dt.f8e4m3fnuz: ("float8e4m3fnuz", 18),
    dt.f8e5m2: ("float8e5m2", 19),
    dt.f8e5m2fnuz: ("float8e5m2fnuz", 20),
    dt.u4: ("uint4", 21),
    dt.i4: ("int4", 22),
    dt.f4e2m1: ("float4e2m1", 23),
    dt.f8e8m0: ("float8e8m0", 24),
    dt.u2: ("uint2", 25),
    dt.i2: ("int2", 26),
    dt.f6e2m3: ("float6e2m3", 27),
    dt.f6e3m2: ("float6e3m2", 28),
}
_HOLDERS = {"seq": "seq(", "opt": "optional(", "textmap": "map(string,", "intmap": "map(int64,"}
_NUMBERED = {number: dtype for dtype, (_, number) in _NAMES.items()}


def type_name(dtype: DType) -> str:
    """What onnxruntime calls a value of that element type: "tensor(float)", "seq(tensor(float))"."""
    if dtype.element is not None:
        kind = dtype.name.partition("<")[0]
        return f"{_HOLDERS[kind]}{type_name(dtype.element.dtype)})"
    return f"tensor({_NAMES[dtype][0]})"


def _dtype(element_type: DTypeLike | int) -> np.dtype[Any]:
    if isinstance(element_type, int):
        if element_type not in _NUMBERED:
            raise failures.InvalidArgument(f"there is no element type {element_type}: numbers are those of ONNX")
        return _NUMBERED[element_type].numpy
    return np.dtype(element_type)


def require_cpu(device: str) -> None:
    """InvalidArgument for any device but the CPU."""
    if device.lower() != "cpu":
        raise failures.InvalidArgument(f"there is no device {device!r}: tensors live in the CPU's memory")


class OrtValue:
    """A tensor in the CPU's memory, sharing it with the array that it was made of."""

    def __init__(self, array: Array) -> None:
        self._array = array

    @staticmethod
    def ortvalue_from_numpy(numpy_obj: Array, device_type: str = "cpu", device_id: int = 0) -> OrtValue:
        """The tensor that an array holds."""
        require_cpu(device_type)
        return OrtValue(np.ascontiguousarray(numpy_obj))

    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: Sequence[int], element_type: DTypeLike | int, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        """An uninitialised tensor; `element_type` is a NumPy type or ONNX's number of one."""
        require_cpu(device_type)
        return OrtValue(np.empty(tuple(shape), _dtype(element_type)))

    @staticmethod
    def from_dlpack(data: Any, /) -> OrtValue:
        """The tensor of another library, in place."""
        return OrtValue(np.from_dlpack(data))

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.array(self._array, dtype, copy=copy)

    def numpy(self) -> Array:
        """Its array."""
        return self._array

    def update_inplace(self, np_arr: Array) -> None:
        """Take over an array's contents; the shape and dtype stay."""
        if np_arr.shape != self._array.shape or np_arr.dtype != self._array.dtype:
            raise failures.InvalidArgument(
                f"{np_arr.dtype}{np_arr.shape} does not fit {self._array.dtype}{self._array.shape}"
            )
        self._array[...] = np_arr

    def data_ptr(self) -> int:
        """The address of its first element."""
        return int(self._array.ctypes.data)

    def shape(self) -> list[int]:
        """Its sizes."""
        return list(self._array.shape)

    def data_type(self) -> str:
        """Its type in onnxruntime's words: "tensor(float)"."""
        return type_name(dt.of(self._array.dtype))

    def element_type(self) -> int:
        """ONNX's number of its element type."""
        return _NAMES[dt.of(self._array.dtype)][1]

    def tensor_size_in_bytes(self) -> int:
        """How many bytes it takes."""
        return self._array.nbytes

    def device_name(self) -> str:
        """Always "cpu"."""
        return "cpu"

    def has_value(self) -> bool:
        """Always True."""
        return True

    def is_tensor(self) -> bool:
        """Always True."""
        return True

    def is_sparse_tensor(self) -> bool:
        """Always False."""
        return False

    def is_tensor_sequence(self) -> bool:
        """Always False."""
        return False


class IOBinding:
    """Inputs and outputs of a session that stay between calls, so that a call allocates nothing."""

    def __init__(self, session: InferenceSession) -> None:
        self.context = session.engine.context()
        self._names = [spec.name for spec in session.engine.outputs]
        self._wanted: dict[str, Array | None] = {}
        self._results: dict[str, Array] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: Any) -> None:
        """Read an input from this array in each call; one that is not row-major is copied now, as onnxruntime does."""
        if isinstance(arr_on_cpu, np.ndarray) and arr_on_cpu.dtype != np.object_:
            arr_on_cpu = arr_on_cpu if arr_on_cpu.flags.c_contiguous else np.ascontiguousarray(arr_on_cpu)
        with failures.translated():
            self.context.bind(inputs={name: arr_on_cpu})

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Read an input from this tensor in each call."""
        self.bind_cpu_input(name, ortvalue.numpy())

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: DTypeLike | int,
        shape: Sequence[int],
        buffer_ptr: int,
    ) -> None:
        """Read an input from memory at this address, which the caller keeps."""
        require_cpu(device_type)
        self.bind_cpu_input(name, array_at(buffer_ptr, shape, element_type))

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: DTypeLike | int | None = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Ask for an output: in memory at this address, which the caller keeps, or in fresh memory."""
        require_cpu(device_type)
        if buffer_ptr is None:
            self._want(name, None)
            return
        if element_type is None or shape is None:
            raise ValueError("`element_type` and `shape` are to be provided if pre-allocated memory is provided")
        self._want(name, array_at(buffer_ptr, shape, element_type))

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Write an output into this tensor in each call."""
        self._want(name, ortvalue.numpy())

    def _want(self, name: str, array: Array | None) -> None:
        if name not in self._names:
            raise failures.InvalidArgument(f"Invalid output name:{name}")
        with failures.translated():
            self.context.unbind(name)
            if array is not None:
                self.context.bind(outputs={name: array})
        self._wanted[name] = array

    def run(self) -> None:
        """One call of the session; RuntimeError where no output is asked for."""
        if not self._wanted:
            raise RuntimeError("At least one output should be requested.")
        with failures.translated():
            results = self.context.run({})
        self._results = {name: results[name] for name in self._wanted}

    def get_outputs(self) -> list[OrtValue]:
        """The results of the last call, in the order in which they were bound."""
        return [OrtValue(array) for array in self._results.values()]

    def copy_outputs_to_cpu(self) -> list[Array]:
        """The results of the last call as arrays, in the order in which they were bound."""
        return [array.copy() for array in self._results.values()]

    def clear_binding_inputs(self) -> None:
        """Forget the inputs."""
        self.context.unbind(*(spec.name for spec in self.context.engine.inputs))

    def clear_binding_outputs(self) -> None:
        """Forget the outputs and their results."""
        self.context.unbind(*self._names)
        self._wanted, self._results = {}, {}

    def synchronize_inputs(self) -> None:
        """Nothing to wait for: arrays are read when a call runs."""

    def synchronize_outputs(self) -> None:
        """Nothing to wait for: results are there when a call returns."""


def array_at(address: int, shape: Sequence[int], element_type: DTypeLike | int) -> Array:
    """The memory at an address as an array; the caller promises that it is there as long as the array."""
    dtype = _dtype(element_type)
    if any(size < 0 for size in shape):
        raise failures.InvalidArgument(f"the shape {tuple(shape)} has a negative size")
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size and not address:
        raise failures.InvalidArgument(f"buffer_ptr is 0, and {tuple(shape)} of {dtype} has {size} bytes")
    memory = memoryview((ctypes.c_char * size).from_address(address))
    return np.ndarray(tuple(shape), dtype, memory)
