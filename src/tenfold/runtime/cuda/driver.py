"""The NVIDIA driver through cuda-bindings: each call is checked, and its errors said in this package's words."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cuda.bindings import driver as cuda

from tenfold.errors import DeviceError, ExecutionError, OutOfMemory
from tenfold.runtime.cuda.apart import Apart
from tenfold.runtime.cuda.cublas import Cublas, cublas
from tenfold.runtime.cuda.cudnn import Cudnn, cudnn
from tenfold.runtime.cuda.meetings import Meetings

TILE_MAP = 128
"""Bytes of a tile descriptor, which lies at a multiple of 64."""

_UNBOUNDED = 2**64 - 1
_STICKY = (
    "ILLEGAL_ADDRESS", "MISALIGNED_ADDRESS", "LAUNCH_FAILED", "LAUNCH_TIMEOUT", "HARDWARE_STACK_ERROR",
    "ILLEGAL_INSTRUCTION", "INVALID_PC", "INVALID_ADDRESS_SPACE", "ASSERT", "ECC_UNCORRECTABLE", "CONTAINED",
)  # fmt: skip
"""How the statuses begin after which a process can use the GPU no more."""


def checked(answer: tuple[Any, ...], what: str) -> Any:
    """What a call of the driver gave: nothing, one thing, or several; or an exception that says what failed."""
    if answer[0]:
        raise failure(answer[0], what)
    return answer[1] if len(answer) == 2 else answer[1:]


def failure(status: Any, what: str) -> DeviceError:
    """The exception for a status of the driver."""
    name = str(status.name).removeprefix("CUDA_ERROR_")
    words = name.replace("_", " ").lower()
    if name == "OUT_OF_MEMORY":
        return OutOfMemory(
            f"the GPU has too little free memory ({what})", remedy="use smaller inputs or fewer contexts"
        )
    if any(name.startswith(one) for one in _STICKY):
        return ExecutionError(
            f"a kernel failed on the GPU: {words} ({what})", remedy="start the process anew: its GPU state is lost"
        )
    return DeviceError(f"the GPU's driver refused: {words} ({what})", remedy="look at nvidia-smi and the driver's log")


_pausing = threading.Lock()
_pauses = [0, False]
"""How many threads want no garbage to be looked for, and whether it was before the first of them."""


@contextmanager
def _uncollected() -> Iterator[None]:
    with _pausing:
        if not _pauses[0]:
            _pauses[1] = gc.isenabled()
            gc.disable()
        _pauses[0] += 1
    try:
        yield
    finally:
        with _pausing:
            _pauses[0] -= 1
            if not _pauses[0] and _pauses[1]:
                gc.enable()


class Graph:
    """Captured launches, ready to be replayed; `nodes` of the `template` are the launches in order."""

    def __init__(self, handle: Any, template: Any, nodes: Sequence[Any]) -> None:
        self.handle, self.template, self.nodes = handle, template, nodes


class Driver:
    """The first GPU of this machine. Streams, events and functions are the driver's own handles; addresses are numbers.

    Each thread that uses it calls `enter` first.
    """

    def __init__(self) -> None:
        checked(cuda.cuInit(0), "cuInit")
        self._device = checked(cuda.cuDeviceGet(0), "cuDeviceGet")
        self._context = checked(cuda.cuDevicePrimaryCtxRetain(self._device), "cuDevicePrimaryCtxRetain")
        self.enter()
        self.processors = self._attribute("MULTIPROCESSOR_COUNT")
        self.apart = Apart(self.processors, self._attribute("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"))
        self.meetings = Meetings(self)
        self._held: dict[int, int] = {}
        self._pinned: dict[int, bool] = {}
        self._pool = pool = checked(cuda.cuDeviceGetDefaultMemPool(self._device), "cuDeviceGetDefaultMemPool")
        threshold = cuda.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
        checked(cuda.cuMemPoolSetAttribute(pool, threshold, cuda.cuuint64_t(_UNBOUNDED)), "cuMemPoolSetAttribute")

    def _attribute(self, name: str) -> int:
        attribute = getattr(cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(checked(cuda.cuDeviceGetAttribute(attribute, self._device), f"cuDeviceGetAttribute of {name}"))

    @property
    def cublas(self) -> Cublas | None:
        """cuBLASLt, where it is installed."""
        return cublas()

    @property
    def cudnn(self) -> Cudnn | None:
        """cuDNN, where it is installed."""
        return cudnn()

    def enter(self) -> None:
        """Let this thread use the GPU."""
        checked(cuda.cuCtxSetCurrent(self._context), "cuCtxSetCurrent")

    # memory

    def allocate(self, size: int, stream: Any) -> int:
        """The address of `size` bytes, usable in the stream's order; OutOfMemory."""
        address = int(checked(cuda.cuMemAllocAsync(max(size, 1), stream), f"{size} bytes"))
        self._held[address] = size
        return address

    def free(self, address: int, stream: Any) -> None:
        """Give memory back once the stream has come to this point."""
        checked(cuda.cuMemFreeAsync(address, stream), "cuMemFreeAsync")
        self._held.pop(address, None)

    def allocate_pinned(self, size: int) -> int:
        """The address of `size` bytes of the host's memory that the GPU copies to and from at full speed."""
        return int(checked(cuda.cuMemHostAlloc(max(size, 1), 0), f"{size} bytes of pinned memory"))

    def free_pinned(self, address: int) -> None:
        """Give pinned memory back."""
        checked(cuda.cuMemFreeHost(address), "cuMemFreeHost")

    def pin(self, address: int, size: int) -> None:
        """Let the GPU copy to and from whole pages of the host's memory at full speed, where the system allows that."""
        self._pinned[address] = cuda.cuMemHostRegister(address, size, 0)[0] == cuda.CUresult.CUDA_SUCCESS

    def unpin(self, address: int) -> None:
        """End that, if it was so: before the memory moves or goes."""
        if self._pinned.pop(address, False):
            self.enter()
            checked(cuda.cuMemHostUnregister(address), "cuMemHostUnregister")

    def is_pinned(self, address: int) -> bool:
        """Whether memory of the host is such."""
        kind = cuda.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE
        status, found = cuda.cuPointerGetAttribute(kind, address)
        return bool(status == cuda.CUresult.CUDA_SUCCESS and found == cuda.CUmemorytype.CU_MEMORYTYPE_HOST)

    def upload(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy from the host."""
        if size:
            checked(cuda.cuMemcpyHtoDAsync(to, source, size, stream), "cuMemcpyHtoDAsync")

    def download(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy to the host."""
        if size:
            checked(cuda.cuMemcpyDtoHAsync(to, source, size, stream), "cuMemcpyDtoHAsync")

    def copy(self, to: int, source: int, size: int, stream: Any) -> None:
        """Copy within the GPU."""
        if size:
            checked(cuda.cuMemcpyDtoDAsync(to, source, size, stream), "cuMemcpyDtoDAsync")

    def clear(self, to: int, size: int, stream: Any) -> None:
        """Write zeros."""
        if size:
            checked(cuda.cuMemsetD8Async(to, 0, size, stream), "cuMemsetD8Async")

    def store(self, to: int, number: int, stream: Any) -> None:
        """Write a number of 64 bits."""
        for half in range(2):
            word = number >> 32 * half & 0xFFFFFFFF
            checked(cuda.cuMemsetD32Async(to + 4 * half, word, 1, stream), "cuMemsetD32Async")

    @property
    def live(self) -> int:
        """Bytes that were allocated and not given back."""
        return sum(self._held.values())

    def trim(self) -> None:
        """Let go of memory that is kept for later allocations."""
        checked(cuda.cuCtxSynchronize(), "cuCtxSynchronize")
        checked(cuda.cuMemPoolTrimTo(self._pool, 0), "cuMemPoolTrimTo")

    def free_bytes(self) -> int:
        """Bytes of the GPU's memory that nobody holds."""
        return int(checked(cuda.cuMemGetInfo(), "cuMemGetInfo")[0])

    # order

    def open_stream(self) -> Any:
        """A stream that does not wait for others."""
        return checked(cuda.cuStreamCreate(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING), "cuStreamCreate")

    def close_stream(self, stream: Any) -> None:
        """End a stream of ours."""
        checked(cuda.cuStreamDestroy(stream), "cuStreamDestroy")

    def foreign_stream(self, handle: int) -> Any:
        """Somebody else's stream."""
        return cuda.CUstream(handle)

    def synchronize(self, stream: Any) -> None:
        """Wait until all that the stream was given is done; ExecutionError if a kernel failed."""
        checked(cuda.cuStreamSynchronize(stream), "cuStreamSynchronize")

    def synchronize_all(self) -> None:
        """Wait until all streams' work is done."""
        checked(cuda.cuCtxSynchronize(), "cuCtxSynchronize")

    def is_capturing(self, stream: Any) -> bool:
        """Whether what comes to the stream becomes a graph instead of being run."""
        status = checked(cuda.cuStreamIsCapturing(stream), "cuStreamIsCapturing")
        return bool(status != cuda.CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE)

    def follow(self, stream: Any, other: Any) -> None:
        """What comes to `stream` from now on waits for all that `other` was given so far."""
        event = self.open_event()
        self.record(event, other)
        self.wait(stream, event)
        self.close_event(event)

    def wait(self, stream: Any, event: Any) -> None:
        """What comes to the stream from now on waits for a mark."""
        checked(cuda.cuStreamWaitEvent(stream, event, 0), "cuStreamWaitEvent")

    def reached(self, event: Any) -> None:
        """Return when a mark has been reached; ExecutionError if a kernel failed."""
        checked(cuda.cuEventSynchronize(event), "cuEventSynchronize")

    def open_event(self) -> Any:
        """A mark to record in streams."""
        return checked(cuda.cuEventCreate(0), "cuEventCreate")

    def close_event(self, event: Any) -> None:
        """End a mark."""
        checked(cuda.cuEventDestroy(event), "cuEventDestroy")

    def record(self, event: Any, stream: Any) -> None:
        """Put the mark where the stream is."""
        checked(cuda.cuEventRecord(event, stream), "cuEventRecord")

    def seconds(self, start: Any, end: Any) -> float:
        """The time from one mark to another, both of which have been reached."""
        return float(checked(cuda.cuEventElapsedTime(start, end), "cuEventElapsedTime")) / 1e3

    # code

    def load(self, code: bytes) -> Any:
        """A module of machine code."""
        return checked(cuda.cuModuleLoadData(code), "cuModuleLoadData")

    def unload(self, module: Any) -> None:
        """Give a module back."""
        checked(cuda.cuModuleUnload(module), "cuModuleUnload")

    def function(self, module: Any, name: str, shared: int) -> Any:
        """A function of a module, which may take so many bytes of shared memory a block."""
        found = checked(cuda.cuModuleGetFunction(module, name.encode()), "cuModuleGetFunction")
        if shared:  # what is more than 48 KiB, with what the function has of its own, has to be asked for
            attribute = cuda.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            checked(cuda.cuFuncSetAttribute(found, attribute, shared), "cuFuncSetAttribute")
        return found

    def launch(
        self, function: Any, blocks: int, threads: int, shared: int, parameters: int, cluster: int, early: bool,
        stream: Any,
    ) -> None:  # fmt: skip
        """Launch on a stream. `parameters` is the address of the addresses of its arguments. Every `cluster` blocks
        reach each other's shared memory; `early`: it may start while the kernel ahead ends, and waits inside.
        """
        config = cuda.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = blocks, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = threads, 1, 1
        config.sharedMemBytes, config.hStream = shared, stream
        attributes = []
        if early:
            attribute = cuda.CUlaunchAttribute()
            attribute.id = cuda.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
            attribute.value.programmaticStreamSerializationAllowed = 1
            attributes.append(attribute)
        if cluster > 1:
            attribute = cuda.CUlaunchAttribute()
            attribute.id = cuda.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
            sizes = attribute.value.clusterDim
            sizes.x, sizes.y, sizes.z = cluster, 1, 1
            attributes.append(attribute)
        if attributes:
            config.attrs, config.numAttrs = attributes, len(attributes)
        checked(cuda.cuLaunchKernelEx(config, function, parameters, 0), "cuLaunchKernelEx")

    def tile_map(
        self, to: int, tile: Sequence[Any], address: int, shape: Sequence[int], strides: Sequence[int]
    ) -> None:
        """Encode a tile descriptor of 128 bytes at the address `to`: `tile` is (block, element type, element size,
        swizzle), strides are in elements, outermost first.
        """
        block, element, size, swizzle = tile
        rank = len(shape)
        made = checked(
            cuda.cuTensorMapEncodeTiled(
                cuda.CUtensorMapDataType(element),
                rank,
                address,
                [cuda.cuuint64_t(one) for one in reversed(shape)],
                [cuda.cuuint64_t(one * size) for one in reversed(strides[:-1])],
                [cuda.cuuint32_t(one) for one in reversed(block)],
                [cuda.cuuint32_t(1)] * rank,
                cuda.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
                cuda.CUtensorMapSwizzle(swizzle),
                cuda.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                cuda.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            ),
            f"cuTensorMapEncodeTiled of {tuple(shape)} by {tuple(strides)} in tiles of {tuple(block)}",
        )
        ctypes.memmove(to, made.getPtr(), TILE_MAP)

    def move_tile_map(self, to: int, address: int) -> None:
        """Let the tile descriptor at the address `to` begin elsewhere: 0.5 µs, where encoding takes 5.9."""
        checked(cuda.cuTensorMapReplaceAddress(cuda.CUtensorMap(_ptr=to), address), "cuTensorMapReplaceAddress")

    # graphs

    def capture(self, stream: Any, emit: Callable[[], None]) -> Graph:
        """What `emit` launches on the stream, one after the other, as a graph."""
        mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        with _uncollected():  # an engine that is found to be garbage here would unload its code, which ends the capture
            checked(cuda.cuStreamBeginCapture(stream, mode), "cuStreamBeginCapture")
            try:
                emit()
            except BaseException:  # it says what went wrong; the capture's end would only say that something did
                _, unfinished = cuda.cuStreamEndCapture(stream)
                if unfinished is not None and int(unfinished):
                    cuda.cuGraphDestroy(unfinished)
                raise
            graph = checked(cuda.cuStreamEndCapture(stream), "cuStreamEndCapture")
        handle = checked(cuda.cuGraphInstantiate(graph, 0), "cuGraphInstantiate")
        return Graph(handle, graph, self._chain(graph))

    def _chain(self, graph: Any) -> list[Any]:
        """The nodes of a graph that is one chain."""
        _, count = checked(cuda.cuGraphGetRootNodes(graph, 0), "cuGraphGetRootNodes")
        nodes = list(checked(cuda.cuGraphGetRootNodes(graph, count), "cuGraphGetRootNodes")[0])
        while nodes:
            count = checked(cuda.cuGraphNodeGetDependentNodes(nodes[-1], 0), "cuGraphNodeGetDependentNodes")[-1]
            if not count:
                break
            after = checked(cuda.cuGraphNodeGetDependentNodes(nodes[-1], count), "cuGraphNodeGetDependentNodes")
            nodes.append(after[0][0])
        return nodes

    def replay(self, graph: Graph, stream: Any) -> None:
        """Put a graph on a stream."""
        checked(cuda.cuGraphLaunch(graph.handle, stream), "cuGraphLaunch")

    def replayer(self, graph: Graph, stream: Any) -> Callable[[], None]:
        """What does `enter` and `replay`, at half of what they take of the CPU."""
        enter, replay, context, handle = cuda.cuCtxSetCurrent, cuda.cuGraphLaunch, self._context, graph.handle

        def run() -> None:
            (status,) = enter(context)
            if not status:
                (status,) = replay(handle, stream)
            if status:
                raise failure(status, "cuGraphLaunch")

        return run

    def node(self, function: Any, blocks: int, threads: int, shared: int, parameters: int) -> Any:
        """What `change` is told of a launch; `parameters` as in `launch`."""
        node = cuda.CUDA_KERNEL_NODE_PARAMS()
        node.func, node.kernelParams, node.sharedMemBytes = function, parameters, shared
        node.gridDimX, node.gridDimY, node.gridDimZ = blocks, 1, 1
        node.blockDimX, node.blockDimY, node.blockDimZ = threads, 1, 1
        return node

    def change(self, graph: Graph, numbers: Iterable[int], launches: Sequence[Any]) -> None:
        """Give the launches with these numbers their arguments anew, as `launches` tells by their number."""
        tell, handle, nodes = cuda.cuGraphExecKernelNodeSetParams, graph.handle, graph.nodes
        for number in numbers:
            (status,) = tell(handle, nodes[number], launches[number])
            if status:
                raise failure(status, "cuGraphExecKernelNodeSetParams")

    def close_graph(self, graph: Graph) -> None:
        """Give a graph back."""
        checked(cuda.cuGraphExecDestroy(graph.handle), "cuGraphExecDestroy")
        checked(cuda.cuGraphDestroy(graph.template), "cuGraphDestroy")
