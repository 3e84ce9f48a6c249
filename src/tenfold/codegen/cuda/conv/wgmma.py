"""A product that speaks to tensor cores in PTX within Gluon's frame, in tiles of as many columns as a product may have:
every multiple of 8, where Gluon takes powers of two.

A block has one tile. A lane asks for a ring of slots, a step each; a slot is free once each warp has told that it has
read it, so that no barrier of all warps is needed in the loop. Both loops are PTX: what a step takes besides its
products is the whole difference between kernels here. The ring and its barriers lie behind what Triton asks for of
shared memory: `room_of` bytes more, which the launch gives.
"""

from __future__ import annotations

import triton
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda.conv.dialect import barriers, copy_in, copy_out, layout_of, meet, terms_of
from tenfold.codegen.cuda.conv.tail import concluded, moments_of, numbers_of_parts, standing_of, tell

_BYTES, _BARRIERS = 128, 1024
_LINE = gl.constexpr(_BYTES)
"""Bytes of a row of a slot, swizzled: a step has as many terms as fill it."""


@triton.constexpr_function
def room_of(m, n, slots):
    """Bytes of a ring for tiles of m by n, and of its barriers."""
    return slots * (m + n) * _BYTES + _BARRIERS


@triton.constexpr_function
def _room(m, n, slots):
    """PTX that gives the address of the room."""
    return (
        "{ .reg .u32 begin, size; mov.u32 begin, global_smem; mov.u32 size, %dynamic_smem_size;"
        f" add.u32 begin, begin, size; sub.u32 $0, begin, {room_of(m, n, slots)}; }}"
    )


@triton.constexpr_function
def _opened(slots, warps):
    """PTX by which one thread makes the barriers at $1: those of slots that are full, then of those that are empty."""
    made = "".join(
        f"""
        mbarrier.init.shared::cta.b64 [$1+{8 * slot}], {1 if slot < slots else warps};"""
        for slot in range(2 * slots)
    )
    return f"""{{
        .reg .pred other;
        .reg .b32 thread;
        mov.u32 thread, %tid.x;
        setp.ne.u32 other, thread, 0;
        @other bra MADE;{made}
        fence.proxy.async.shared::cta;
        MADE:
        mov.u32 $0, 0;
    }}"""


@triton.constexpr_function
def _named(kernel):
    """PTX that gets the kernel's first two descriptors."""
    return f"""
        .reg .b64 rows, columns;
        mov.b64 rows, {kernel}_param_0;
        cvta.param.u64 rows, rows;
        mov.b64 columns, {kernel}_param_5;
        cvta.param.u64 columns, columns;"""


@triton.constexpr_function
def _begun(kernel, m, n, slots, turned, terms):
    """PTX of what a lane asks for before the kernel ahead has ended, even of what that kernel writes: the descriptors
    themselves, and that L2 has what the ring takes first, of which blocks that read the same ask for every so-manieth
    step each. $1 and $2 say which tile it is, $3 and $4 how many lie one below the other and side by side, $5 what
    number of terms; a step has `terms`.
    """
    columns = "".join(
        f"""
        mad.lo.u32 box, $2, {n}, {begin};
        @!done cp.async.bulk.prefetch.tensor.2d.L2.global [columns, {{{"term, box" if turned else "box, term"}}}];"""
        for begin in range(0, n, 32 if turned else 64)
    )
    return f"""{{
        .reg .pred done;
        .reg .b32 at, term, end, box;
        {_named(kernel)}
        mov.u32 at, %laneid;
        setp.ne.u32 done, at, 0;
        @done bra END;
        prefetch.tensormap [rows];
        prefetch.tensormap [columns];
        min.s32 end, $5, {slots * terms};
        mul.lo.u32 box, $1, {m};
        mul.lo.u32 term, $2, {terms};
        mul.lo.u32 at, $4, {terms};
        ROWS:
        setp.ge.s32 done, term, end;
        @!done cp.async.bulk.prefetch.tensor.2d.L2.global [rows, {{term, box}}];
        add.u32 term, term, at;
        @!done bra ROWS;
        mul.lo.u32 term, $1, {terms};
        mul.lo.u32 at, $3, {terms};
        COLUMNS:
        setp.ge.s32 done, term, end;{columns}
        add.u32 term, term, at;
        @!done bra COLUMNS;
        END:
        bar.warp.sync -1;
        mov.u32 $0, 0;
    }}"""


@triton.constexpr_function
def _copied(descriptor, offset, along, down):
    """PTX by which one lane asks for a box."""
    return (
        f"add.u32 to, slot, {offset};\ncp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
        f" [to], [{descriptor}, {{{along}, {down}}}], [full];\n"
    )


@triton.constexpr_function
def _asked(kernel, m, n, slots, turned, terms):
    """PTX by which one lane asks for all steps, as slots become free: $1 the room, $2 and $3 the tile's first row and
    column, $4 the terms, `terms` a step. Columns come in boxes of 32, or of 64 where they lie side by side.
    """
    boxes, wide = _copied("rows", 0, "term", "$2"), 32 if turned else 64
    for begin in range(0, n, wide):
        along, down = ("term", "at") if turned else ("at", "term")
        boxes += f"add.u32 at, $3, {begin};" + _copied("columns", (m + begin) * _BYTES, along, down)
    return f"""{{
        .reg .pred done;
        .reg .b32 at, to, slot, full, last, term, parity;
        {_named(kernel)}
        mov.u32 at, %laneid;
        setp.ne.u32 done, at, 0;
        @done bra END;
        mov.u32 slot, $1;
        add.u32 full, $1, {slots * (m + n) * _BYTES};
        add.u32 last, full, {8 * slots};
        mov.u32 term, 0;
        mov.u32 parity, 1;
        STEP:
        mbarrier.try_wait.parity.shared::cta.b64 done, [full+{8 * slots}], parity;
        @!done bra STEP;
        mbarrier.arrive.expect_tx.shared::cta.b64 _, [full], {(m + n) * _BYTES};
        {boxes}
        add.u32 slot, slot, {(m + n) * _BYTES};
        add.u32 full, full, 8;
        setp.eq.u32 done, full, last;
        @done sub.u32 full, full, {8 * slots};
        @done mov.u32 slot, $1;
        @done xor.b32 parity, parity, 1;
        add.u32 term, term, {terms};
        setp.lt.s32 done, term, $4;
        @done bra STEP;
        END:
        bar.warp.sync -1;
        mov.u32 $0, 0;
    }}"""


_LINES, _BESIDE = 0x4000004000000000, 0x200 << 16
"""What tensor cores are told of a matrix: rows of 128 bytes, swizzled, of which 8 take 1,024; and that 8,192 bytes
further on come those beside it.
"""


@triton.constexpr_function
def _step(m, n, slots, turned, kind, slot):
    """PTX of the step in a slot, and of giving back the slot before, if it is asked for again; once that is through,
    at most the step's own products are under way.
    """
    every, products = ", ".join(f"${one}" for one in range(n // 2)), ""
    name = {"fp16": "f16", "bf16": "bf16", "fp32": "tf32"}[str(kind)]
    flags = "" if kind.is_fp32() else f", 0, {1 - turned}"
    types = f"k{terms_of(kind)}.f32.{name}.{name}"
    for part in range(4):
        down = slot * (m + n) * _BYTES + 32 * part
        along = slot * (m + n) * _BYTES + (32 if turned else 16 * _BYTES) * part
        products += f"""
        add.s64 a, rows, {down >> 4};
        add.s64 b, columns, {along >> 4};
        wgmma.mma_async.sync.aligned.m64n{n}{types} {{{every}}}, a, b, 1, 1, 1{flags};"""
    return f"""
        add.s32 at, step, {slot};
        setp.ge.s32 p, at, steps;
        @p bra DONE;
        WAIT{slot}:
        mbarrier.try_wait.parity.shared::cta.b64 p, [bars+{8 * slot}], parity;
        @!p bra WAIT{slot};
        wgmma.fence.sync.aligned;
        {products}
        wgmma.commit_group.sync.aligned;
        wgmma.wait_group.sync.aligned 1;
        add.s32 at, step, {slot + slots - 1};
        setp.lt.and.s32 p, at, steps, first;
        {"" if slot else "setp.gt.and.s32 p, step, 0, p;"}
        @p mbarrier.arrive.shared::cta.b64 _, [bars+{8 * (slots + (slot - 1) % slots)}];
    """


@triton.constexpr_function
def _multiplied(m, n, slots, turned, warps, kind, piece):
    """PTX of all steps: sums first, `piece` / 2 to a part; then the room and the number of steps. The slots of the ring
    follow each other in the text, so that nothing is reckoned of their numbers.
    """
    sums = n // 2
    every = "".join(_step(m, n, slots, turned, kind, slot) for slot in range(slots))
    beside = _LINES if turned else _LINES + _BESIDE
    return f"""{{
        .reg .b64 a, b, rows, columns;
        .reg .b32 at, bars, steps, step, parity;
        .reg .pred p, first;
        mov.u32 at, %tid.x;
        shr.u32 at, at, 7;
        mad.lo.u32 at, at, {64 * _BYTES if warps > 4 else 0}, ${2 * sums};
        bfe.u32 at, at, 4, 14;
        cvt.u64.u32 rows, at;
        or.b64 rows, rows, {_LINES};
        add.u32 at, ${2 * sums}, {m * _BYTES};
        bfe.u32 at, at, 4, 14;
        cvt.u64.u32 columns, at;
        or.b64 columns, columns, {beside};
        add.u32 bars, ${2 * sums}, {slots * (m + n) * _BYTES};
        mov.u32 steps, ${2 * sums + piece // 2};
        mov.u32 at, %laneid;
        setp.eq.u32 first, at, 0;
        mov.u32 step, 0;
        mov.u32 parity, 0;
        ROUND:
        {every}
        add.s32 step, step, {slots};
        xor.b32 parity, parity, 1;
        bra ROUND;
        DONE:
        wgmma.wait_group.sync.aligned 0;
    }}"""


@triton.constexpr_function
def _tied(sums, words):
    """Sums that are read and written in place, and registers of words beside them."""
    return ",".join(["=f"] * sums + [str(one) for one in range(sums)] + ["r"] * words)


@triton.constexpr_function
def _floats(count):
    return (gl.float32,) * count


@gluon.jit
def load(
    x, w, beside, kept, kept_full, room, tile, counts, k, KERNEL: gl.constexpr, M: gl.constexpr, N: gl.constexpr,
    SLOTS: gl.constexpr, TURNED: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """All steps of the tile, as slots become free, and what lies beside its sums."""
    TERMS: gl.constexpr = x.block_type.shape[1]
    gl.inline_asm_elementwise(
        _begun(KERNEL, M, N, SLOTS, TURNED, TERMS), "=r,r,r,r,r,r", [tile[0], tile[1], counts[0], counts[1], k],
        dtype=gl.int32, is_pure=False, pack=1,
    )  # fmt: skip
    row, column = tile[0] * M, tile[1] * N
    grid.wait(EARLY)
    gl.inline_asm_elementwise(
        _asked(KERNEL, M, N, SLOTS, TURNED, TERMS), "=r,r,r,r,r", [room, row, column, k],
        dtype=gl.int32, is_pure=False, pack=1,
    )  # fmt: skip
    if len(beside) > 0:
        mbarrier.expect(kept_full.index(0), M * N // TERMS * _LINE)
        for part in gl.static_range(len(beside)):
            at = [0, 0, row, column + part * (N // len(beside))]
            copy_in(beside[part], at, kept_full.index(0), kept[part].index(0))


@gluon.jit
def summed(
    room, k, M: gl.constexpr, PARTS: gl.constexpr, SLOTS: gl.constexpr, TURNED: gl.constexpr, WARPS: gl.constexpr,
    KIND: gl.constexpr,
):  # fmt: skip
    """The tile's sums, part by part."""
    PIECE: gl.constexpr = PARTS[0]
    N: gl.constexpr = len(PARTS) * PIECE
    accs = ()
    for _ in gl.static_range(len(PARTS)):
        accs = accs + (gl.zeros((M, PIECE), gl.float32, layout_of(PIECE, WARPS)),)
    steps = gl.cdiv(k, 4 * terms_of(KIND))
    return gl.inline_asm_elementwise(
        _multiplied(M, N, SLOTS, TURNED, WARPS, KIND, PIECE), _tied(N // 2, PIECE), accs + (room, steps),
        dtype=_floats(len(PARTS)), is_pure=False, pack=PIECE // 2,
    )  # fmt: skip


@gluon.jit
def multiply(
    output, beside, kept, kept_full, extra, told, moments, uniforms, room, m, n, k, tile, body: gl.constexpr,
    kinds: gl.constexpr, PARTS: gl.constexpr, WIDTH: gl.constexpr, STANDING: gl.constexpr, M: gl.constexpr,
    SLOTS: gl.constexpr, TURNED: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """The tile: its products, the body on them and on what lies beside them, stored."""
    BOX: gl.constexpr = (1, 1, M)
    grid.begin(EARLY)
    row, column = tile[0] * M, tile[1] * (len(PARTS) * PARTS[0])
    lefts = ()
    for part in gl.static_range(len(PARTS)):
        lefts = lefts + (column + part * PARTS[0],)
    parts = moments_of(moments, row, m, M, WARPS, STANDING)
    numbers = numbers_of_parts(extra, 0, row, lefts, m, n, kinds, M, BOX, PARTS, WARPS)
    accs = summed(room, k, M, PARTS, SLOTS, TURNED, WARPS, output[0].dtype)
    standing = standing_of(parts, STANDING)
    if len(beside) > 0:
        mbarrier.wait(kept_full.index(0), 0)
    found = ()
    for part in gl.static_range(len(PARTS)):
        these = ()
        if len(numbers) > 0:
            these = numbers[part]
        results = kept[part].index(0).reshape((M, PARTS[part]))
        values = concluded((accs[part],), results, these, standing, uniforms, lefts[part], n, body, kinds)
        results.store(values.to(output[part].dtype))
        found = found + (values,)
    fence_async_shared()
    for part in gl.static_range(len(PARTS)):
        copy_out(output[part], [0, 0, row, lefts[part]], kept[part].index(0))
        if WIDTH > 0:
            tell(told, found[part], row, lefts[part], m, n, M, PARTS[part], WIDTH)
    tma.store_wait(0)


@gluon.jit
def straight(
    x, w, output, beside, extra, told, moments, uniforms, across, m, n, k, body: gl.constexpr, kinds: gl.constexpr,
    PARTS: gl.constexpr, WIDTH: gl.constexpr, STANDING: gl.constexpr, M: gl.constexpr, SLOTS: gl.constexpr,
    TURNED: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """`x` is a descriptor of rows by terms, `w` of columns by terms (of terms by columns, if not TURNED). A tile's
    columns have equal PARTS, of which `output` and `beside` have a descriptor each; `across` tiles lie side by side.
    For the rest see `teams.boxes`.
    """
    N: gl.constexpr = len(PARTS) * PARTS[0]
    kept = ()
    for part in gl.static_range(len(PARTS)):
        one = output[part]
        kept = kept + (gl.allocate_shared_memory(one.dtype, [1] + one.block_type.shape, one.layout),)
    kept_full = ()
    if len(beside) > 0:
        kept_full = barriers(1)
    room = gl.inline_asm_elementwise(_room(M, N, SLOTS), "=r", [], dtype=gl.int32, is_pure=False, pack=1)
    gl.inline_asm_elementwise(
        _opened(SLOTS, WARPS), "=r,r", [room + SLOTS * (M + N) * _LINE], dtype=gl.int32, is_pure=False, pack=1
    )
    meet()
    counts = (gl.cdiv(m, M), across)
    tile = (gl.program_id(0) // across, gl.program_id(0) % across)
    gl.warp_specialize(
        [
            (multiply, (output, beside, kept, kept_full, extra, told, moments, uniforms, room, m, n, k, tile, body,
                        kinds, PARTS, WIDTH, STANDING, M, SLOTS, TURNED, WARPS, EARLY)),
            (load, (x, w, beside, kept, kept_full, room, tile, counts, k, "straight", M, N, SLOTS, TURNED, EARLY)),
        ],
        [1], [24],
    )  # fmt: skip
