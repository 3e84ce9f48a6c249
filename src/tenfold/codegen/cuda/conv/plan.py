"""Convolutions and products as tile descriptors see them: an image, a matrix, and what lies beside the results.

An image that is walked in steps of two is seen as lines of two places each, so that a tap's pixels lie side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cuda import emit, gemm, grid, matrices, paired, site
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.cuda.launch import Filling, boxed
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Workspace
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.constant import Constant
from tenfold.ops.matmul import PairedMatMul
from tenfold.target import Target

Sizes = tuple[Size, ...]


@dataclass(frozen=True)
class View:
    """An operand as a descriptor sees it."""

    operand: Operand
    shape: Sizes
    strides: Sizes


@dataclass(frozen=True)
class Plan:
    """`x` over images, lines, places of a line, places, channels; `w` over columns and terms (terms and columns, if not
    `turned`); `full` the output, then what lies beside it, over images, rows, pixels, columns. `kinds` and `extra` say
    of each operand of the body: 4 one number a column of an image, 3 the one beside, 2 one number a column, 1 one a
    pixel of a line, 0 one number. f32 is rounded to TF32 as it is copied; `aside` is a matrix of it whose columns lie
    side by side, which is turned in the workspace first, where `w` lies then.
    """

    region: Anchored
    x: View
    w: View
    turned: bool
    full: tuple[View, ...]
    kinds: tuple[int, ...]
    extra: tuple[View, ...]
    k: int
    taps: tuple[int, int] = (1, 1)
    steps: tuple[int, ...] = (1, 1)
    dilations: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (0, 0)
    aside: Operand | None = None

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return self.x.operand.dtype.itemsize

    @property
    def line(self) -> int:
        """Terms of a line of shared memory."""
        return LINE // self.size

    @property
    def depth(self) -> int:
        """Terms of a step."""
        return depth(self.k, self.size)

    @property
    def constant(self) -> bool:
        """Whether `w` is there before any kernel runs."""
        return isinstance(self.w.operand.value.op, Constant) and self.aside is None

    def tiles(self, view: View, block: Sequence[int], address: Workspace | None = None) -> Filling:
        """The descriptor of tiles that are multiplied."""
        return boxed(view.operand, block, view.shape, view.strides, address, view.operand.dtype is dt.f32)

    @property
    def sizes(self) -> Sizes:
        """Images, rows and pixels of the output."""
        return self.full[0].shape[:3]

    @property
    def halves(self) -> bool:
        """Whether two halves of twice as many columns of `w` meet in the body."""
        return isinstance(self.region.anchor, PairedMatMul)

    @property
    def n(self) -> int:
        """Columns."""
        columns = self.full[0].shape[3]
        assert isinstance(columns, int)
        return columns


def plan_of(region: Region, target: Target, packed: Shape | None = None) -> Plan | Refusal:
    """How boxes compute a region, or the same convolution of a `packed` image; or why they do not."""
    if not isinstance(region, Anchored):
        return Refusal("no product")
    reason = emit.refusal(region.body) or site.refusal(region) or _types_refusal(region, target)
    if reason:
        return Refusal(reason)
    if packed is not None:
        return _of_windows(region, packed)
    pair = paired.problem_of(region)
    if not isinstance(pair, Refusal):
        return _of_halves(region, pair)
    plain = gemm.problem_of(region)
    found = plain if isinstance(plain, Refusal) else _of_product(region, plain)
    if isinstance(found, Refusal):
        shape = shape_of(region)
        found = shape if isinstance(shape, Refusal) else _of_windows(region, shape)
    return found


def _types_refusal(region: Anchored, target: Target) -> str | None:
    kind = region.inputs[0].dtype
    if any(one.dtype is not kind for one in (*region.inputs[:2], *region.outputs)):
        return "elements that are not all of one type"
    if kind not in (dt.f16, dt.bf16, *((dt.f32,) if "tf32" in target.extras else ())):
        return "elements that tensor cores do not take, or that they would round to TF32 unasked"
    return None


def _of_product(region: Anchored, problem: gemm.Problem) -> Plan | Refusal:
    """A product: its rows are the pixels of one row of one image."""
    a, b, place = problem.a, matrices.laid(problem.b), problem.site
    rows, columns, cut = place.rows, place.columns, len(region.extra)
    if problem.batch or problem.m == 1 or len(rows.sizes) != 1:
        return Refusal("rows that are one, or lie in several matrices")
    if not isinstance(problem.k, int) or not isinstance(problem.n, int):
        return Refusal("terms or columns of unknown number")
    image = _view(a, (1, 1, 1, problem.m, problem.k), (0, 0, 0, a.strides[0], a.strides[1]))
    turned, aside = b.strides[-1] != 1, None
    if not turned and b.dtype is dt.f32:
        turned, aside, b = True, b, replace(b, strides=(1, problem.k), offset=0)
    shape, steps = (b.shape[::-1], b.strides[::-1]) if turned else (b.shape, b.strides)
    strides = [(0, 0, down[0], along[0]) for down, along in zip(rows.strides, columns.strides, strict=True)]
    sizes = (1, 1, problem.m, problem.n)
    beside = _beside(region, sizes, strides[:cut])
    output = _view(place.operands[cut], sizes, strides[cut])
    return _checked(region, image, _view(b, shape, steps), turned, output, beside, problem.k, aside=aside)


def _of_halves(region: Anchored, problem: gemm.Problem) -> Plan | Refusal:
    """Both halves of a matrix's columns, seen as one descriptor."""
    found = _of_product(region, problem)
    if isinstance(found, Refusal) or len(found.full) > 1:
        return found if isinstance(found, Refusal) else Refusal("a tensor lies beside what halves make together")
    shape = (2 * found.n, found.k) if found.turned else (found.k, 2 * found.n)
    return replace(found, w=replace(found.w, shape=shape))


def _of_windows(region: Anchored, shape: Shape) -> Plan | Refusal:
    """A convolution along two axes at most, of one group. Where windows have one tap a line, only their pixels are
    seen; else a line's places, several of which may be one element of the descriptor.
    """
    x, w = shape.x, shape.w
    steps, dilations = shape.strides[1:], shape.dilations[1:]
    pads = tuple(pad for pad in shape.pads[1:] if isinstance(pad, int))
    if shape.groups != 1 or shape.taps[0] != 1 or x.shape[2] != 1 or len(pads) != 2:
        return Refusal("groups, windows along three axes, or padding of unknown size")
    n, _, _, h, v = (x.strides[axis] for axis in range(5))
    high, places, inner = x.shape[3], x.shape[4], shape.k
    if shape.taps[2] == 1 and pads[1] == 0:
        steps, places, v = (steps[0], 1), shape.out_sizes[3], v * steps[1]
    elif steps[1] != 1 and (v != shape.k or not dim.divisible(places, steps[1])):
        return Refusal("steps over pixels that lie apart, or over lines that are no multiple of them")
    else:
        places, v, inner = places // steps[1], v * steps[1], steps[1] * shape.k
    if shape.taps[1] == 1 and pads[0] == 0:
        high, h, steps = shape.out_sizes[2], h * steps[0], (1, steps[1])
    if not dim.divisible(high, steps[0]):
        return Refusal("an image whose height is no multiple of the steps")
    sees = (x.shape[0], high // steps[0], steps[0], places, inner)
    image = _view(x, sees, (n, h * steps[0], h, v, x.strides[1]))
    terms = math.prod(shape.taps) * shape.k
    weights = _view(w, (shape.n, terms), (shape.w_strides[0], shape.w_strides[2]))
    if shape.w_strides[1] != shape.k and terms != shape.k:
        return Refusal("taps that do not lie behind one another")
    sizes = (shape.out_sizes[0], *shape.out_sizes[2:], shape.n)
    walked = [_walk(one, shape.axes) for one in (*region.extra, *region.outputs)]
    output = _view(region.outputs[0], sizes, walked[-1])
    beside = _beside(region, sizes, walked[:-1])
    return _checked(
        region, image, weights, True, output, beside, shape.k, taps=shape.taps[1:], steps=steps, dilations=dilations,
        pads=pads,
    )  # fmt: skip


def _walk(one: Operand, axes: Sequence[int]) -> Sizes:
    """Strides along images, rows, pixels and columns."""
    image, *places, column = (one.strides[axis] for axis in axes)
    return (image, *((0, 0, *places)[-2:]), column)


def _beside(region: Anchored, sizes: Sizes, strides: Sequence[Sizes]) -> list[tuple[int, View]] | Refusal:
    found = []
    for one, steps in zip(region.extra, strides, strict=True):
        moves = [size != 1 and step != 0 for size, step in zip(sizes, steps, strict=True)]
        if moves == [True, False, False, True] and steps[3] == 1:
            found.append((4, View(one, sizes, steps)))
        elif moves == [False, False, True, False] and steps[2] == 1:
            found.append((1, View(one, sizes, steps)))
        elif any(moves[:3]):
            if one.dtype is not region.outputs[0].dtype:
                return Refusal("what lies beside has elements of another type")
            found.append((3, _view(one, sizes, steps)))
        elif moves[3] and steps[3] != 1:
            return Refusal("numbers of columns that do not lie side by side")
        else:
            found.append((2 if moves[3] else 0, View(one, sizes, steps)))
    return found if sum(kind == 3 for kind, _ in found) <= 1 else Refusal("several tensors lie beside")


def _view(one: Operand, shape: Sizes, strides: Sequence[Size]) -> View:
    """Axes of size 1 get the strides that a dense tensor has."""
    found: list[Size] = [strides[-1]]
    for axis in range(len(shape) - 2, -1, -1):
        found.append(found[-1] * shape[axis + 1] if shape[axis] == 1 else strides[axis])
    return View(one, shape, tuple(reversed(found)))


def _checked(
    region: Anchored, x: View, w: View, turned: bool, output: View, beside: list[tuple[int, View]] | Refusal, k: int,
    taps: tuple[int, ...] = (1, 1), aside: Operand | None = None, **windows: tuple[int, ...],
) -> Plan | Refusal:  # fmt: skip
    if isinstance(beside, Refusal):
        return beside
    full = (output, *(view for kind, view in beside if kind == 3))
    told = region.moments
    if told is not None and (dim.product(output.shape[:2]) != 1 or grid.step_of(told.shape[2:], told.strides[2:]) != 1):
        return Refusal("moments of rows that do not lie side by side")
    if not all(map(_moves, (x, w, *full))):
        return Refusal("rows that are no multiple of 16 bytes do not move by descriptor")
    if taps != (1, 1) and k % depth(k, x.operand.dtype.itemsize):
        return Refusal("channels that do not fill the steps of a sum")
    kinds, extra = tuple(kind for kind, _ in beside), tuple(view for _, view in beside)
    return Plan(region, x, w, turned, full, kinds, extra, k, (taps[0], taps[1]), aside=aside, **windows)


def _moves(view: View) -> bool:
    size = view.operand.dtype.itemsize
    steps = (*view.strides[:-1], view.operand.offset)
    return view.strides[-1] == 1 and all(dim.divisible(step * size, 16) for step in steps) and view.strides[-2] != 0


LINE = 128
"""Bytes of a line of shared memory."""


def depth(k: int, size: int) -> int:
    """Terms of a step, of so many bytes each: a line of shared memory, or half of one."""
    whole, half = LINE // size, LINE // size // 2
    return whole if k % whole == 0 or (k > 3 * half and k % half) or k > 4 * whole else half
