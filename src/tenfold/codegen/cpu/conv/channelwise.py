"""The code of depthwise convolution in f32 with channels as lanes: a line of the result at a time.

A block holds the sums of adjacent pixels of a line in registers, for a vector of channels. Each pixel of the image
that they see is loaded once a line, and serves all taps along it; the body follows in registers. Blocks at the ends of
a line write only pixels that exist; taps beyond the border are left out where sizes are known, else they read zeros.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from tenfold.codegen.cpu.conv.ending import Ending, Place, finish
from tenfold.codegen.cpu.flow import define, repeat, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.memory import first_lanes, load, store
from tenfold.codegen.cpu.microkernel import multiply_add, prefetch
from tenfold.codegen.cpu.stage import StageWriter, ceildiv, divided, least, most, operand_names, share_of
from tenfold.codegen.cpu.vectors import F32, I64, POINTER, Vector, Vectors
from tenfold.ir.dtype import f32

_SIZE = f32.itemsize
_AHEAD = 2
"""How many blocks ahead memory is asked for."""
_SPANS = 3
"""The most blocks at the ends of a line that have code of their own."""


@dataclass(frozen=True)
class Span:
    """What exists of a block: of the pixels that it sees those from `low` to `high`, and the number of its results."""

    low: int
    high: int
    pixels: int


@dataclass(frozen=True)
class Form:
    """What the code depends on; all other sizes and strides are arguments.

    A block makes `pixels` of a line, by `taps` along it that lie `dilation` apart, `stride` from pixel to pixel.
    `spans` are the kinds of blocks from a line's start to its end, of which only the whole one comes more than once;
    none where calls tell. What a line gives in all is `told` besides, channel by channel.
    """

    isa: Isa
    pixels: int
    taps: int
    stride: int
    dilation: int
    ending: Ending
    spans: tuple[Span, ...] = ()
    told: bool = False

    @property
    def lanes(self) -> int:
        """Channels of a vector."""
        return self.isa.lanes(_SIZE)

    @property
    def seen(self) -> int:
        """Pixels of a line of the image from the first that a block sees to the last."""
        return (self.pixels - 1) * self.stride + (self.taps - 1) * self.dilation + 1

    @property
    def whole(self) -> Span:
        """A block of which all exists."""
        return Span(0, self.seen, self.pixels)

    def along(self, width: int, extent: int, left: int) -> Form:
        """The same for lines of `width` pixels from an image's lines of `extent`, `left` zeros before them; unchanged
        if there were too many kinds of blocks.
        """
        found: list[Span] = []
        for pixel in range(0, width, self.pixels):
            inside = extent + left - pixel * self.stride
            low, high = max(0, left - pixel * self.stride), max(0, min(self.seen, inside))
            found.append(Span(low, high, min(self.pixels, width - pixel)))
        kinds = tuple(kind for kind, _ in itertools.groupby(found))
        simple = len(found) - found.count(self.whole) <= _SPANS and len(set(kinds)) == len(kinds)
        once = all(found.count(kind) == 1 for kind in kinds if kind != self.whole)
        return replace(self, spans=kinds) if simple and once else self

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The stage's arguments in order; steps in bytes."""
        found = ["lines", "height", "width", "channels", "line_parts", "channel_parts"]
        found += ["@w", "down", "down.stride", "down.dilation", "above", "left", "x.height", "x.width"]
        for name in ("x", *self.ending.streams):
            found += operand_names(name, ("image", "row", "column"))
        if self.told:
            found += operand_names("told", ("image", "row"))
        return tuple(found)


@functools.cache
def source(form: Form) -> str:
    """The module of such a convolution, in textual form. Scratch holds a vector of zeros, then one for each pixel."""
    return _Writer(form).text()


@dataclass(frozen=True)
class _Line:
    """A line of the result: where its operands begin, the first line of the image that it sees, its taps down the image
    that fall inside.
    """

    starts: dict[str, ir.Value]
    row: Vector
    first: Vector
    end: Vector


class _Writer(StageWriter):
    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "depthwise", form.names)
        self.form = form
        rest = form.lanes if form.isa.masks else 1
        kinds = form.spans or (form.whole, None)
        self.blocks = {
            (lanes, span, tail): self._define(number, lanes, span, tail)
            for (lanes, tail), (number, span) in itertools.product(
                ((form.lanes, False), (rest, True)), enumerate(kinds)
            )
        }
        self.rest = rest

    def text(self) -> str:
        """The stage: a part's share of lines and of channels."""
        form = self.form
        store(self.vectors(form.lanes), f32, self.scratch, self.vectors(form.lanes).zero(F32))
        lines, channels = divided(self.part, self.arg("channel_parts"))
        shared = share_of(ceildiv(self.arg("channels"), form.lanes), channels, self.arg("channel_parts"))
        low, high = (least(one * form.lanes, self.arg("channels")) for one in shared)
        first, end = share_of(self.arg("lines"), lines, self.arg("line_parts"))
        repeat(self.scalar, first, end, lambda at: self._line(at, low, high))
        return self.finish()

    def _line(self, number: Vector, low: Vector, high: Vector) -> None:
        """Channels `low` to `high` of one line."""
        form = self.form
        image, row = divided(number, self.arg("height"))
        above = row * self.arg("down.stride") - self.arg("above")
        dilation = self.arg("down.dilation")
        first = ceildiv(most(0 - above, self.number(0)), dilation)
        end = least(ceildiv(most(self.arg("x.height") - above, self.number(0)), dilation), self.arg("down"))
        starts = {}
        for name in ("x", *form.ending.streams):
            place = image * self.arg(f"{name}.image") + (above if name == "x" else row) * self.arg(f"{name}.row")
            starts[name] = self.step(self.pointer(f"@{name}"), place)
        if form.told:
            starts["told"] = self.step(
                self.pointer("@told"), image * self.arg("told.image") + row * self.arg("told.row")
            )
        line = _Line(starts, row, first, end)
        whole = low + ((high - low) & -form.lanes)
        repeat(self.scalar, low, whole, lambda at: self._channels(line, at, form.lanes, False, high), by=form.lanes)
        repeat(self.scalar, whole, high, lambda at: self._channels(line, at, self.rest, True, high), by=self.rest)

    def _channels(self, line: _Line, channel: Vector, lanes: int, tail: bool, high: Vector) -> None:
        """A vector of channels along a line: blocks, careful ones at its ends."""
        form = self.form
        block, lane = divided(channel, self.number(form.lanes))
        weights = block * (form.taps * form.lanes * _SIZE) * self.arg("down") + lane * _SIZE
        down = self.arg("x.row") * self.arg("down.dilation")
        image = self.step(line.starts["x"], channel * _SIZE + line.first * down)
        filters = self.step(self.pointer("@w"), weights + line.first * (form.taps * form.lanes * _SIZE))
        steady = [filters, (line.end - line.first).value, down.value, (high - channel).value]
        places = {
            name: self.step(line.starts[name], channel * (one.step or 0) * one.dtype.itemsize)
            for name, one in form.ending.streams.items()
        }
        told = [self.step(line.starts["told"], channel * _SIZE)] if form.told else []
        if told:
            code = self.vectors(lanes)
            mask = first_lanes(code, high - channel) if tail and lanes > 1 else None
            store(code, f32, told[0], code.zero(F32), mask)

        def some(span: Span | None, pixel: Vector) -> None:
            place = pixel * form.stride - self.arg("left")
            here = self.step(image, place * self.arg("x.column"))
            moved = [self.step(at, pixel * self.arg(f"{name}.column")) for name, at in places.items()]
            wide = [self.arg(name).value for name in self._columns]
            ends = [place.value, (self.arg("width") - pixel).value]
            self.builder.call(
                self.blocks[lanes, span, tail], [here, *steady, *ends, self.scratch, *wide, *moved, *told]
            )

        if form.spans:
            self._by_spans(some)
        else:
            self._by_place(some)

    def _by_spans(self, some: Callable[[Span | None, Vector], None]) -> None:
        """The blocks of a line whose kinds are known."""
        spans, pixels = self.form.spans, self.form.pixels
        blocks, before = ceildiv(self.arg("width"), pixels), self.number(0)
        for behind, span in zip(reversed(range(len(spans))), spans, strict=True):
            after = blocks - behind
            if span == self.form.whole:
                repeat(self.scalar, before * pixels, after * pixels, functools.partial(some, span), by=pixels)
            else:
                some(span, before * pixels)
            before = before + 1 if span != self.form.whole else after

    def _by_place(self, some: Callable[[Span | None, Vector], None]) -> None:
        """The blocks of any line: careful ones at its ends."""
        form, left, width = self.form, self.arg("left"), self.arg("width")
        inner = least(ceildiv(left, form.pixels * form.stride) * form.pixels, width)
        seen = self.arg("x.width") + left - form.seen
        fitting = (seen < 0).where(0, divided(most(seen, self.number(0)), self.number(form.stride))[0] + 1)
        fitting = least(fitting + (form.pixels - 1), width)
        count = divided(most(fitting - inner, self.number(0)), self.number(form.pixels))[0]
        outer = inner + count * form.pixels
        for span, start, stop in ((None, self.number(0), inner), (form.whole, inner, outer), (None, outer, width)):
            repeat(self.scalar, start, stop, functools.partial(some, span), by=form.pixels)

    @property
    def _columns(self) -> list[str]:
        return ["x.width", "x.column", *(f"{name}.column" for name in self.form.ending.streams)]

    def _define(self, number: int, lanes: int, span: Span | None, tail: bool) -> ir.Function:
        """`void block(ptr x, ptr w, i64 lines, i64 line, i64 channels, i64 place, i64 pixels, ptr zeros, i64 width,
        i64 column, i64 columns of streams …, ptr streams …, ptr told)`: the block whose taps begin at pixel `place` of
        the image, and of which `span` exists: if None, what the arguments say.
        """
        form, careful = self.form, span is None
        streams = len(form.ending.streams)
        kinds = [POINTER, POINTER, *[I64] * 5, POINTER, I64, I64, *[I64] * streams, *[POINTER] * (streams + form.told)]
        name = f"block{lanes}_{number}{'_tail' * tail}"
        function = define(self.module, name, ir.VoidType(), kinds, internal=True)
        builder = ir.IRBuilder(function.entry_basic_block)
        scalar, code = Vectors(builder, form.isa, 1), Vectors(builder, form.isa, lanes)
        x, w, lines, line, channels, place, pixels, zeros, width, column, *others = function.args
        mask = first_lanes(code, scalar.wrap(channels)) if tail and lanes > 1 else None
        across = scalar.wrap(column)
        inside = [(scalar.wrap(place) + at).compare("<", scalar.wrap(width), unsigned=True) for at in range(form.seen)]

        def row(_: Vector, x: ir.Value, w: ir.Value, *sums: ir.Value) -> Sequence[ir.Value]:
            found = list(sums)
            factors = [load(code, f32, step(builder, w, tap * form.lanes * _SIZE)) for tap in range(form.taps)]
            for at, pairs in self._pairs(span or form.whole):
                here = step(builder, x, across * at)
                if careful:
                    here = builder.select(inside[at].value, here, zeros)
                pixel = load(code, f32, here, mask)
                for tap, number in pairs:
                    found[number] = multiply_add(pixel, factors[tap], code.wrap(found[number])).value
            return (step(builder, x, line), step(builder, w, form.taps * form.lanes * _SIZE), *found)

        place = Place(
            others[:streams],
            others[streams : 2 * streams],
            step(builder, zeros, form.isa.vector_bytes),
            mask,
            least(scalar.wrap(pixels), scalar.wrap(pixels).like(form.pixels)) if careful else None,
            others[-1] if form.told else None,
        )
        if lanes > 1:
            self._expect(code, place)
        zero = code.zero(F32).value
        _, (_, _, *sums) = repeat(scalar, 0, scalar.wrap(lines), row, (x, w, *[zero] * (span or form.whole).pixels))
        finish(scalar, code, form.ending, [[code.wrap(one)] for one in sums], place)
        builder.ret_void()
        return function

    def _expect(self, code: Vectors, place: Place) -> None:
        """Ask for the memory that the block _AHEAD blocks later will write: too far apart for the machine to see it
        coming.
        """
        outputs = len(self.form.ending.outputs)
        for start, column in zip(place.starts[-outputs:], place.columns[-outputs:], strict=True):
            for number in range(_AHEAD * self.form.pixels, (_AHEAD + 1) * self.form.pixels):
                offset = code.builder.mul(column, ir.Constant(I64, number))
                prefetch(code.builder, step(code.builder, start, offset), write=True)

    def _pairs(self, span: Span) -> list[tuple[int, list[tuple[int, int]]]]:
        """The pixels of the image that a block sees along a line, each with the taps and results that it serves."""
        form = self.form
        found: dict[int, list[tuple[int, int]]] = {}
        for number, tap in itertools.product(range(span.pixels), range(form.taps)):
            found.setdefault(number * form.stride + tap * form.dilation, []).append((tap, number))
        return sorted(one for one in found.items() if span.low <= one[0] < span.high)
