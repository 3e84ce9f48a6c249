"""What a region becomes on a GPU: programs, their arguments as formulas of the sizes, their grids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeAlias

from tenfold.codegen.cuda.emit import ALARM, NAMES, pointer
from tenfold.codegen.cuda.program import Call, Hole, Parameter, Program, Word
from tenfold.codegen.region import Operand
from tenfold.codegen.strategy import Address, Argument, Kernel, Packed, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.runtime.cuda.product import Asked

_WIDEST_I32 = 2**31 - 1


LINE = 256
"""Bytes to whose multiples parts of a workspace are aligned."""


@dataclass(frozen=True, eq=False)
class Descriptor:
    """An argument: a tile descriptor (TMA) of the tensor at `address`, encoded when the sizes are known."""

    address: Address | Packed | Workspace
    dtype: DType
    shape: tuple[Size, ...]
    strides: tuple[Size, ...]


@dataclass(frozen=True)
class Counters:
    """An argument: an address in memory that is zero before the first call, and that every kernel leaves zero."""


@dataclass(frozen=True)
class Alarm:
    """An argument: the address of a word, 0 before a call, that a kernel sets where an index lies outside."""


@dataclass(frozen=True, eq=False)
class Recast(Operand):
    """A constant as a kernel wants it: after the operations of `recipe`, which the build carries out. `value` is the
    constant as it is; shape and strides are those of the result.
    """

    recipe: tuple[Op, ...] = ()


GpuArgument: TypeAlias = "Argument | Descriptor | Counters | Alarm"


@dataclass(frozen=True, eq=False)
class Launch:
    """One kernel launch: `arguments` for the program's words in order, `grid` blocks along x."""

    program: Program | Call
    arguments: tuple[GpuArgument, ...]
    grid: Size


@dataclass(frozen=True, eq=False, kw_only=True)
class CudaKernel(Kernel):
    """What a region became: launches in order, bytes of shared workspace, bytes of counters."""

    place: ClassVar[str] = "cuda"
    launches: tuple[Launch, ...]
    zeroed: Size = 0

    @property
    def may_fail(self) -> bool:
        """Whether a launch tells of indices that lie outside."""
        return any(isinstance(one, Alarm) for launch in self.launches for one in launch.arguments)

    @property
    def takes_workspace(self) -> bool:
        """Whether a launch is given an address in the workspace."""
        return any(isinstance(one, Workspace) for launch in self.launches for one in launch.arguments)


@dataclass(frozen=True, eq=False)
class Given:
    """A run-time argument beside the word that types it."""

    word: Word
    argument: GpuArgument


Filling: TypeAlias = "Given | Hole | int | str | tuple[Filling, ...]"
"""What fills a kernel's parameter: a `Parameter` with the arguments still beside their words."""


class TritonFunction(Protocol):
    """What is told of a kernel without importing Triton."""

    fn: Callable[..., Any]
    arg_names: Sequence[str]


def launch(
    kernel: str, grid: Size, fillings: Mapping[str, Filling], warps: int = 4, stages: int = 3, registers: int = 0,
    room: int = 0,
) -> Launch:  # fmt: skip
    """The launch of a kernel with its parameters filled, in the order of its parameters. Where a hole tells of indices
    that lie outside, an alarm follows what is gathered.
    """
    if any(ALARM in one.text for one in _holes(tuple(fillings.values()))):
        operands = fillings["gathered"]
        assert isinstance(operands, tuple)
        fillings = {**fillings, "gathered": (*operands, (alarm(),))}
    parameters = tuple((name, _parameter(one)) for name, one in fillings.items())
    arguments = tuple(given.argument for one in fillings.values() for given in _given(one))
    return Launch(Program(kernel, parameters, warps, stages, registers, room), arguments, grid)


def calling(kernel: TritonFunction, grid: Size, fillings: Mapping[str, Filling], warps: int = 4) -> Launch:
    """The launch of a kernel whose parameters are found among `fillings` by name."""
    ordered = {name: fillings[name] for name in kernel.arg_names}
    return launch(f"{kernel.fn.__module__}:{kernel.fn.__name__}", grid, ordered, warps)


def number(size: Size) -> Filling:
    """A size: a constant if it is known, else an argument, 32 bits wide where it is known to fit."""
    if isinstance(size, int):
        return size
    high = dim.bounds(size)[1]
    wide = high is None or high > _WIDEST_I32
    return Given(Word("i64" if wide else "i32", dim.divisible(size, 16)), size)


def numbers(sizes: Sequence[Size]) -> tuple[Filling, ...]:
    """Several sizes."""
    return tuple(number(size) for size in sizes)


def place(operand: Operand) -> Given:
    """The address of an operand's first element; buffers are aligned to 16 bytes at least."""
    offset = operand.offset * operand.dtype.itemsize
    return Given(Word(pointer(operand.dtype), dim.divisible(offset, 16)), _address(operand))


def _address(operand: Operand) -> Address | Packed:
    if isinstance(operand, Recast):
        return Packed(operand.value, operand.recipe)
    return Address(operand.value, operand.offset * operand.dtype.itemsize)


def workspace(type_name: str, offset: Size = 0) -> Given:
    """An address in the kernel's workspace."""
    return Given(Word(type_name, dim.divisible(offset, 16)), Workspace(offset))


def counters() -> Given:
    """The address of the kernel's counters, which are i32."""
    return Given(Word("*i32", True), Counters())


def alarm() -> Given:
    """The address of the kernel's alarm, an i32."""
    return Given(Word("*i32"), Alarm())


def descriptor(
    operand: Operand, block: Sequence[int], shape: Sequence[Size], strides: Sequence[Size], rounded: bool = False
) -> Given:
    """A tile descriptor of an operand seen with that shape and those strides, in tiles of `block` elements, which
    copies from it round to TF32 if `rounded`.
    """
    word = Word(f"tensordesc<{NAMES[operand.dtype][1]}[{', '.join(map(str, block))}]>", rounded=rounded)
    return Given(word, Descriptor(_address(operand), operand.dtype, tuple(shape), tuple(strides)))


def boxed(
    operand: Operand, block: Sequence[int], shape: Sequence[Size], strides: Sequence[Size],
    address: Workspace | None = None, rounded: bool = False,
) -> Given:  # fmt: skip
    """A tile descriptor for a kernel in Gluon, which names the layout of its tiles in shared memory; of what lies at
    `address` if that is given.
    """
    given = descriptor(operand, block, shape, strides)
    size = operand.dtype.itemsize
    swizzle = min(128, block[-1] * size)
    layout = f"NVMMASharedLayout(swizzle_byte_width={swizzle}, element_bitwidth={8 * size}, rank={len(block)})"
    argument = Descriptor(address or _address(operand), operand.dtype, tuple(shape), tuple(strides))
    return Given(Word(f"{given.word.type[:-1]},{layout}>", rounded=rounded), argument)


def gathered(operands: Sequence[Operand]) -> tuple[Filling, ...]:
    """Operands read at computed places: addresses with strides."""
    return tuple((place(one), numbers(one.strides)) for one in operands)


def uniforms(sizes: Sequence[Size]) -> tuple[Filling, ...]:
    """The region's uniforms, always as arguments."""
    return tuple(Given(Word("i64"), size) for size in sizes)


def room(size: Size) -> Size:
    """So many bytes, and what is missing to the next part's beginning."""
    return dim.ceildiv(size, LINE) * LINE


def placed(launches: Sequence[Launch], starts: dict[Value, Size]) -> tuple[Launch, ...]:
    """The launches with the buffers of some values in the workspace."""

    def place(argument: GpuArgument) -> GpuArgument:
        if isinstance(argument, Descriptor) and isinstance(argument.address, Address):
            return replace(argument, address=placed_address(argument.address))
        return placed_address(argument) if isinstance(argument, Address) else argument

    def placed_address(address: Address) -> Address | Workspace:
        return Workspace(starts[address.value] + address.offset) if address.value in starts else address

    return tuple(replace(one, arguments=tuple(map(place, one.arguments))) for one in launches)


def asked(wanted: Asked, operands: Sequence[Operand], ours: CudaKernel, least: int) -> CudaKernel:
    """A library's call on these operands and `least` bytes of workspace, and in its place, where the library is not
    installed, the launches of ours.
    """
    first = Launch(Call(wanted, len(ours.launches)), (*map(_address, operands), Workspace()), 1)
    room = dim.maximum(ours.workspace, least)
    return CudaKernel(launches=(first, *ours.launches), workspace=room, zeroed=ours.zeroed)


def _parameter(filling: Filling) -> Parameter:
    if isinstance(filling, tuple):
        return tuple(_parameter(one) for one in filling)
    return filling.word if isinstance(filling, Given) else filling


def _holes(filling: Filling) -> Iterator[Hole]:
    if isinstance(filling, Hole):
        yield filling
    elif isinstance(filling, tuple):
        for one in filling:
            yield from _holes(one)


def _given(filling: Filling) -> Iterator[Given]:
    if isinstance(filling, Given):
        yield filling
    elif isinstance(filling, tuple):
        for one in filling:
            yield from _given(one)
