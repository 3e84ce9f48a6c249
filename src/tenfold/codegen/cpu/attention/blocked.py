"""The code of attention with queries as lanes.

Both products are the micro-kernel's: scores are keys times queries turned, results are values turned times weights, so
that keys and values are read where they lie, and the softmax needs nothing across lanes. Of each block of keys only
the scores of one part's queries exist, in the first cache.

Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"; Dao 2023, "FlashAttention-2".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from llvmlite import ir

from tenfold.codegen.cpu.attention.form import Form, Rows
from tenfold.codegen.cpu.attention.scores import bias, capped, power, powers, query_factor
from tenfold.codegen.cpu.attention.turning import Source, copied, turned, turned_back
from tenfold.codegen.cpu.flow import choose, define, repeat, step
from tenfold.codegen.cpu.memory import load, load_one, store
from tenfold.codegen.cpu.microkernel import Block, Tile, call_tile
from tenfold.codegen.cpu.outsite import OutSite
from tenfold.codegen.cpu.stage import StageWriter, divided, least, most
from tenfold.codegen.cpu.storage import cast, register_type, widen
from tenfold.codegen.cpu.vectors import I32, I64, POINTER, Vector, Vectors

Site = Callable[[Vector, Vector, int], Vector]
"""What changes a score: (score, number of the key in its block, which vector of queries) -> score."""

_SLACK = 8.0
"""How far, in powers of two, scores may grow beyond those that results are scaled by."""


@functools.cache
def source(form: Form) -> str:
    """The module of the stage in textual form; a part is at most `block.columns` queries of one head."""
    return BlockedWriter(form).text()


class BlockedWriter(StageWriter):
    """The stage being written."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.isa, "attention", form.names)
        self._use(form)

    def _use(self, form: Form) -> None:
        """Write code for parts of this form from here on."""
        self.form, self.block, self.size = form, form.block, form.total.itemsize
        self.vector = self.vectors(form.block.lanes)
        self.element = register_type(form.total)
        tile = Tile(form.isa, form.total, form.total, form.total, form.block, 1)
        self.tiles = {rows: replace(tile, rows=rows).define(self.module) for rows in form.block.heights}
        self.weighers = [(count, *_weigher(self.module, form, rows)) for count, rows in _heights(form)]
        value = Block(form.block.columns, form.padded // form.block.lanes, form.block.lanes)
        self.out = OutSite(self, form.body, form.streams, form.around, form.total, value)

    def text(self) -> str:
        """A part: where it lies, and, if it has few queries, in fewer vectors."""
        rest, panel = divided(self.part, self.arg("panels"))
        self.batch, self.head = divided(rest, self.arg("heads"))
        self.shared = divided(self.head, self.arg("sharing"))[0]
        self.first = panel * self.block.columns
        self.rows = least(self.arg("queries") - self.first, self.number(self.block.columns))
        self.visible = self._visible()
        narrow = self.form.narrowed
        if narrow is None:
            self._part()
            return self.finish()

        def narrowly(form: Form = narrow) -> None:
            self._use(form)
            self._part()

        choose(self.scalar, self.rows > narrow.block.columns, self._part, narrowly)
        return self.finish()

    def _part(self) -> None:
        """The queries turned, the blocks of keys, the results turned back."""
        self._turn_queries()
        self._clear()
        vectors = self.block.vectors
        start = [self.vector.constant(self.element, -math.inf).value] * vectors
        start += [self.vector.zero(self.element).value] * vectors
        block = self.arg("key_block")
        _, state = repeat(self.scalar, 0, self.visible, self._keys, start, by=block)
        self._write(self._wrapped(state[:vectors]), self._wrapped(state[vectors:]))

    def _at(self, place: str) -> ir.Value:
        return self.step(self.scratch, self.form.places[place])

    def _wrapped(self, values: Sequence[ir.Value]) -> list[Vector]:
        return [self.vector.wrap(one) for one in values]

    def _start(self, name: str, head: Vector) -> ir.Value:
        """Where an operand's rows of this part's head begin."""
        offset = self.batch * self.arg(f"{name}.batch") + head * self.arg(f"{name}.head")
        return self.step(self.pointer(f"@{name}"), offset)

    def _source(self, name: str, head: Vector, form: Rows, first: Vector, rows: Vector) -> Source:
        row = self.arg(f"{name}.row")
        start = self.step(self._start(name, head), first * row)
        return Source(start, form.dtype, row, self.arg(f"{name}.element"), rows, form.adjacent)

    def _turn_queries(self) -> None:
        """The queries, scaled so that scores are powers of two, or what the softcap wants."""
        form = self.form
        by = query_factor(form.scale, form.softcap)
        queries = self._source("q", self.head, form.q, self.first, self.arg("queries") - self.first)

        def scaled(value: Vector) -> Vector:
            return cast(form.q.dtype, form.total, value) * by

        columns, depth = self.block.columns, self.number(form.depth)
        turned(self, self.vector, queries, columns, depth, scaled, form.total, self._at("queries"))

    def _clear(self) -> None:
        zero, size = self.vector.zero(self.element), self.block.lanes * self.size
        results = self._at("results")

        def clear(place: Vector) -> None:
            store(self.vector, self.form.total, self.step(results, place), zero)

        repeat(self.scalar, 0, self.form.padded * self.form.line, clear, by=size)

    def _visible(self) -> Vector:
        """How many keys the last of the queries may see at most."""
        keys = self.arg("keys")
        if not self.form.causal:
            return keys
        return least(keys, most(self.first + self.rows + self.arg("offset"), self.number(0)))

    def _keys(self, key: Vector, *state: ir.Value) -> Sequence[ir.Value]:
        """A block of keys: the state is what weights of each query are powers above, and the sum of its weights."""
        vectors = self.block.vectors
        maxima, sums = self._wrapped(state[:vectors]), self._wrapped(state[vectors:])
        count = least(self.arg("key_block"), self.visible - key)
        self._score(key, count)
        masked = self._mask(key, count)
        after = self._greatest(key, count, masked, maxima)
        held, sums = self._held(maxima, after, sums)
        sums = self._weights(count, masked, [_finite(one) for one in held], sums)
        self._add_values(key, count)
        return [one.value for one in (*held, *sums)]

    def _held(
        self, before: Sequence[Vector], after: Sequence[Vector], sums: Sequence[Vector]
    ) -> tuple[list[Vector], list[Vector]]:
        """What weights are powers above, and their sums: of earlier blocks, or, where some score has grown far beyond
        it, the greatest scores, with results and sums shrunk to that.
        """
        beyond = [new > old + _SLACK for old, new in zip(before, after, strict=True)]
        some = functools.reduce(Vector.__or__, beyond).any()

        def renewed() -> list[ir.Value]:
            by = [power(old - _finite(new)) for old, new in zip(before, after, strict=True)]
            self._shrink(by)
            less = (total * factor for total, factor in zip(sums, by, strict=True))
            return [one.value for one in (*after, *less)]

        kept = [one.value for one in (*before, *sums)]
        found = self._wrapped(choose(self.scalar, self.scalar.wrap(some), renewed, lambda: kept))
        return found[: len(after)], found[len(after) :]

    def _lines(self, name: str, form: Rows, width: int, key: Vector, count: Vector) -> tuple[ir.Value, Vector]:
        """Where a block of keys or values begins, and bytes from one to the next; copied if they must be."""
        rows = self._source(name, self.shared, form, key, count)
        if not form.copied:
            return rows.start, rows.row
        total, pitch = self.form.total, self.form.pitch
        target = self._at("copies")

        def converted(value: Vector) -> Vector:
            return cast(form.dtype, total, value)

        copied(self, self.vector, rows, width, converted, total, target, pitch)
        return target, self.number(pitch)

    def _score(self, key: Vector, count: Vector) -> None:
        """Scores [key][query] of a block."""
        block, table, scores = self.block, self._at("table"), self._at("scores")
        start, pitch = self._lines("k", self.form.k, self.form.depth, key, count)

        def slot(number: Vector) -> None:
            line = self.step(start, least(number, count - 1) * pitch)
            self.builder.store(line, self.step(table, number * 8), align=8)

        repeat(self.scalar, 0, count + (block.rows - 1), slot)
        fixed = [self.number(1), self.number(self.form.depth), self.number(block.columns)]

        def rows(number: Vector) -> None:
            left = least(count - number, self.number(block.rows))
            given = [self.step(table, number * 8), *(one.value for one in fixed), self._at("queries")]
            target = self.step(scores, number * self.form.line)
            call_tile(self.scalar, self.tiles, block, left, [*given, target, self.number(0).value])

        repeat(self.scalar, 0, count, rows, by=block.rows)

    def _greatest(self, key: Vector, count: Vector, masked: Site, maxima: Sequence[Vector]) -> list[Vector]:
        """The greatest score of each query, those of earlier blocks included; what the mask adds is not kept."""
        form, scores, lanes = self.form, self._at("scores"), self.block.lanes * self.size

        def walk(sites: Sequence[Site]) -> list[ir.Value]:
            def one(number: Vector, *before: ir.Value) -> Sequence[ir.Value]:
                line, found = self.step(scores, number * form.line), []
                for v, best in enumerate(self._wrapped(before)):
                    place = self.step(line, v * lanes)
                    score = load(self.vector, form.total, place)
                    for change in sites:
                        score = change(score, number, v)
                    if sites:
                        store(self.vector, form.total, place, score)
                    found.append(best.at_least(masked(score, number, v)).value)
                return found

            return repeat(self.scalar, 0, count, one, [best.value for best in maxima])[1]

        plain = [self._capped] * (form.softcap > 0)
        if not form.causal:
            return self._wrapped(walk(plain))
        beyond = key + count > self.first + self.arg("offset") + 1
        sites = [*plain, self._causal(key)]
        return self._wrapped(choose(self.scalar, beyond, lambda: walk(sites), lambda: walk(plain)))

    def _capped(self, score: Vector, number: Vector, v: int) -> Vector:
        return capped(score, self.form.softcap)

    def _mask(self, key: Vector, count: Vector) -> Site:
        """What adds the mask to scores, made ready for a block of keys."""
        if self.form.mask is None:
            return lambda score, number, v: score
        return self._turned_mask(key, count) if self.form.mask.moving else self._even_mask(key, count)

    def _turned_mask(self, key: Vector, count: Vector) -> Site:
        mask = self.form.mask
        assert mask
        row, element = self.arg("mask.row"), self.arg("mask.element")
        start = self.step(self._start("mask", self.head), self.first * row + key * element)
        rows = Source(start, mask.dtype, row, element, self.arg("queries") - self.first, mask.adjacent)
        place = self._at("mask")
        ready = functools.partial(bias, mask, self.form.total)
        turned(self, self.vector, rows, self.block.columns, count, ready, self.form.total, place)

        def added(score: Vector, number: Vector, v: int) -> Vector:
            line = self.step(place, number * self.form.line + v * self.block.lanes * self.size)
            return score + load(self.vector, self.form.total, line)

        return added

    def _even_mask(self, key: Vector, count: Vector) -> Site:
        """A mask that is the same for all queries: one number a key."""
        mask, total, place = self.form.mask, self.form.total, self._at("mask")
        assert mask
        start = self.step(self._start("mask", self.head), key * self.arg("mask.element"))
        whole = count & -self.block.lanes if mask.adjacent else self.number(0)

        def ready(code: Vectors, number: Vector) -> None:
            given = load(code, mask.dtype, self.step(start, number * self.arg("mask.element")))
            store(code, total, self.step(place, number * self.size), bias(mask, total, widen(mask.dtype, given)))

        repeat(self.scalar, 0, whole, functools.partial(ready, self.vector), by=self.block.lanes)
        repeat(self.scalar, whole, count, functools.partial(ready, self.scalar))

        def added(score: Vector, number: Vector, v: int) -> Vector:
            return score + load_one(self.vector, total, self.step(place, number * self.size))

        return added

    def _causal(self, key: Vector) -> Site:
        reach = (self.first + self.arg("offset") - key).to_integer(I32)
        lanes = self.vector.splat(reach.value) + self.vector.iota(I32)

        def hidden(score: Vector, number: Vector, v: int) -> Vector:
            far = self.vector.splat(number.to_integer(I32).value) > lanes + v * self.block.lanes
            return far.where(-math.inf, score)

        return hidden

    def _shrink(self, by: Sequence[Vector]) -> None:
        """The results so far, by what their queries' greatest scores grew."""
        results, lanes = self._at("results"), self.block.lanes * self.size

        def row(place: Vector) -> None:
            for v, factor in enumerate(by):
                address = self.step(results, place + v * lanes)
                store(self.vector, self.form.total, address, load(self.vector, self.form.total, address) * factor)

        repeat(self.scalar, 0, self.form.width * self.form.line, row, by=self.form.line)

    def _weights(self, count: Vector, masked: Site, bases: Sequence[Vector], sums: Sequence[Vector]) -> list[Vector]:
        """Scores made weights; their sums."""
        scores, lanes = self._at("scores"), self.block.lanes * self.size

        def one(number: Vector, *before: ir.Value) -> Sequence[ir.Value]:
            line = self.step(scores, number * self.form.line)
            places = [self.step(line, v * lanes) for v in range(self.block.vectors)]
            known = [masked(load(self.vector, self.form.total, place), number, v) for v, place in enumerate(places)]
            weights = powers([score - base for score, base in zip(known, bases, strict=True)])
            for place, weight in zip(places, weights, strict=True):
                store(self.vector, self.form.total, place, weight)
            return [(total + weight).value for total, weight in zip(self._wrapped(before), weights, strict=True)]

        start = [one.value for one in sums]
        return self._wrapped(repeat(self.scalar, 0, count, one, start)[1])

    def _add_values(self, key: Vector, count: Vector) -> None:
        """Values times weights, added to the results."""
        start, pitch = self._lines("v", self.form.v, self.form.width, key, count)
        done = 0
        for blocks, rows, function in self.weighers:

            def block(number: Vector, done: int = done, rows: int = rows, function: ir.Function = function) -> None:
                element = number * rows + done
                values = self.step(start, element * self.size)
                results = self.step(self._at("results"), element * self.form.line)
                self.builder.call(function, [values, pitch.value, count.value, self._at("scores"), results])

            repeat(self.scalar, 0, blocks, block)
            done += blocks * rows

    def _write(self, maxima: Sequence[Vector], sums: Sequence[Vector]) -> None:
        """The results divided by the sums of their weights, through the body."""
        form = self.form
        blind = self.vector.zero(self.element)
        if form.blind == "nan":
            nothing = self.arg("keys").equals(0).where(self.scalar.constant(self.element, 0), math.nan)
            blind = self.vector.splat(nothing.value)
        pairs = zip(maxima, sums, strict=True)
        factors = [best.equals(-math.inf).where(blind, 1.0 / total) for best, total in pairs]
        turned_back(self, self._at("results"), factors, form.padded, form.total, self._at("scores"))
        starts = {name: self._start_of(name) for name in form.streams}
        offsets = []
        for group in range(form.groups):
            place = self.step(self._at("offsets"), group * 8 * self.block.columns)
            way = self.arg(f"group{group}")

            def offset(row: Vector, place: ir.Value = place, way: Vector = way) -> None:
                self.builder.store(((self.first + row) * way).value, self.step(place, row * 8), align=8)

            repeat(self.scalar, 0, self.rows, offset)
            offsets.append(place)
        zero, width = self.number(0), self.number(form.width)
        self.out.write(starts, offsets, self._at("scores"), self.rows, zero, width)

    def _start_of(self, name: str) -> ir.Value:
        offset = self.batch * self.arg(f"batch.{name}") + self.head * self.arg(f"head.{name}")
        return self.step(self.pointer(name), offset)


def _finite(base: Vector) -> Vector:
    """What may be subtracted from any score: 0 where there is none yet."""
    return base.equals(-math.inf).where(0.0, base)


def _heights(form: Form) -> list[tuple[int, int]]:
    """(how often, elements of a value): even shares that fit the registers, and what is left."""
    count = -(-form.width // form.block.rows)
    rows = -(-form.width // count)
    whole, rest = divmod(form.width, rows)
    return [(whole, rows), *[(1, rest)] * (rest > 0)]


def _weigher(module: ir.Module, form: Form, rows: int) -> tuple[int, ir.Function]:
    """`void weigh(ptr values, i64 pitch, i64 keys, ptr weights, ptr results)`: results [element][query] += the sum
    over keys of values [key][element] times weights [key][query], for `rows` elements.
    """
    block, size = form.block, form.total.itemsize
    function = define(
        module, f"weigh{rows}x{block.vectors}", ir.VoidType(), [POINTER, I64, I64, POINTER, POINTER], internal=True
    )
    builder = ir.IRBuilder(function.entry_basic_block)
    scalar, vector = Vectors(builder, form.isa, 1), Vectors(builder, form.isa, block.lanes)
    values, pitch, keys, weights, results = function.args
    wide = block.lanes * size
    places = [step(builder, results, place * wide) for place in range(rows * block.vectors)]

    def key(_: Vector, values: ir.Value, weights: ir.Value, *sums: ir.Value) -> Sequence[ir.Value]:
        line = [load(vector, form.total, step(builder, weights, v * wide)) for v in range(block.vectors)]
        found = []
        for row in range(rows):
            value = load_one(vector, form.total, step(builder, values, row * size))
            now = sums[row * block.vectors : (row + 1) * block.vectors]
            found += [value.fma(one, vector.wrap(total)).value for one, total in zip(line, now, strict=True)]
        return (step(builder, values, pitch), step(builder, weights, form.line), *found)

    start = [load(vector, form.total, place).value for place in places]
    _, (_, _, *sums) = repeat(scalar, 0, scalar.wrap(keys), key, (values, weights, *start))
    for place, total in zip(places, sums, strict=True):
        store(vector, form.total, place, vector.wrap(total))
    builder.ret_void()
    return rows, function
