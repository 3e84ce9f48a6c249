"""A product that speaks to tensor cores in PTX within Gluon's frame, in tiles of as many columns as a product may have:
every multiple of 8, where Gluon takes powers of two.

A block has one tile. A warp asks for a ring of slots, a step each; a slot is free once each warp has told that it has
read it, so that no barrier of all warps is needed in the loop. The ring and its barriers lie behind what Triton asks
for of shared memory: `room_of` bytes more, which the launch gives.
"""

from __future__ import annotations

import triton
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda.conv.dialect import copy_in, layout_of, meet
from tenfold.codegen.cuda.conv.teams import barriers, moments_of, numbers_of_parts, standing_of, stored

TERMS = 64
"""Terms of a step: elements of 16 bits of a row of a slot, swizzled."""
_BYTES, _BARRIERS = 2 * TERMS, 1024
_LINE, _STEP = gl.constexpr(_BYTES), gl.constexpr(TERMS)


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
        f"@first mbarrier.init.shared::cta.b64 [$1+{8 * slot}], 1;"
        f" @first mbarrier.init.shared::cta.b64 [$1+{8 * (slots + slot)}], {warps};\n"
        for slot in range(slots)
    )
    return f"""{{
        .reg .pred first;
        .reg .u32 thread;
        mov.u32 thread, %tid.x;
        setp.eq.u32 first, thread, 0;
        {made}
        fence.proxy.async.shared::cta;
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
def _known(kernel):
    """PTX that asks for the descriptors themselves."""
    return f"{{ {_named(kernel)} prefetch.tensormap [rows]; prefetch.tensormap [columns]; mov.u32 $0, 0; }}"


@triton.constexpr_function
def _copied(descriptor, offset, along, down):
    """PTX by which one lane asks for a box."""
    return (
        f"add.u32 to, $1, {offset};\n@first cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
        f" [to], [{descriptor}, {{{along}, {down}}}], [$2];\n"
    )


@triton.constexpr_function
def _asked(kernel, m, n, turned):
    """PTX that asks for a step: $1 its slot, $2 and $3 its barriers, $4 the round's parity, $5 its first term, $6 and
    $7 the tile's first row and column. Columns come in boxes of 32, or of 64 where they lie side by side.
    """
    boxes, wide = _copied("rows", 0, "$5", "$6"), 32 if turned else 64
    for begin in range(0, n, wide):
        along, down = ("$5", "at") if turned else ("at", "$5")
        boxes += f"add.u32 at, $7, {begin};" + _copied("columns", (m + begin) * _BYTES, along, down)
    return f"""{{
        .reg .pred done, first;
        .reg .u32 at, to;
        {_named(kernel)}
        mov.u32 at, %laneid;
        setp.eq.u32 first, at, 0;
        WAIT:
        mbarrier.try_wait.parity.shared::cta.b64 done, [$3], $4;
        @!done bra WAIT;
        @first mbarrier.arrive.expect_tx.shared::cta.b64 _, [$2], {(m + n) * _BYTES};
        {boxes}
        mov.u32 $0, 0;
    }}"""


_LINES, _BESIDE = 0x4000004000000000, 0x200 << 16
"""What tensor cores are told of a matrix: rows of 128 bytes, swizzled, of which 8 take 1,024; and that 8,192 bytes
further on come those beside it.
"""


@triton.constexpr_function
def _described(name, address, offset, kind):
    """PTX that makes what tensor cores take for a matrix at an address of shared memory."""
    return (
        f"add.u32 at, {address}, {offset}; bfe.u32 at, at, 4, 14;"
        f" cvt.u64.u32 {name}, at; or.b64 {name}, {name}, {kind};\n"
    )


@triton.constexpr_function
def _multiplied(m, n, turned, warps, kind, piece):
    """PTX of a step: sums first, `piece` / 2 to a part; then the slot, its barrier, the round's parity, the barrier of
    the slot before, and whether that is to be given back. Once it is through, at most its own products are under way.
    """
    sums, kind = n // 2, "bf16" if kind.is_bf16() else "f16"
    slot, full, parity, empty, wanted = (f"${2 * sums + piece // 2 * one}" for one in range(5))
    every, found = ", ".join(f"${one}" for one in range(sums)), ""
    for step in range(4):
        if turned:
            found += _described("b", slot, m * _BYTES + 32 * step, _LINES)
        else:
            found += _described("b", slot, m * _BYTES + 16 * _BYTES * step, _LINES + _BESIDE)
        found += _described("a", "rows", 32 * step, _LINES)
        found += (
            f"wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{kind}.{kind} {{{every}}}, a, b, p, 1, 1, 0, {1 - turned};\n"
        )
    return f"""{{
        .reg .b64 a, b;
        .reg .b32 at, rows;
        .reg .pred p, first;
        mov.u32 rows, %tid.x;
        shr.u32 rows, rows, 7;
        mad.lo.u32 rows, rows, {64 * _BYTES if warps > 4 else 0}, {slot};
        WAIT:
        mbarrier.try_wait.parity.shared::cta.b64 p, [{full}], {parity};
        @!p bra WAIT;
        setp.eq.b32 p, 0, 0;
        wgmma.fence.sync.aligned;
        {found}
        wgmma.commit_group.sync.aligned;
        wgmma.wait_group.sync.aligned 1;
        setp.ne.u32 first, {wanted}, 0;
        mov.u32 at, %laneid;
        setp.eq.and.u32 first, at, 0, first;
        @first mbarrier.arrive.shared::cta.b64 _, [{empty}];
    }}"""


@triton.constexpr_function
def _tied(sums, words):
    """Sums that are read and written in place, and registers of words beside them."""
    return ",".join(["=f"] * sums + [str(one) for one in range(sums)] + ["r"] * words)


@triton.constexpr_function
def _floats(count):
    return (gl.float32,) * count


_LAST = gl.constexpr("wgmma.wait_group.sync.aligned 0;")


@gluon.jit
def load(
    x, w, beside, kept, kept_full, room, k, row, column, KERNEL: gl.constexpr, M: gl.constexpr, N: gl.constexpr,
    SLOTS: gl.constexpr, TURNED: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """All steps of the tile, as slots become free, and what lies beside its sums."""
    gl.inline_asm_elementwise(_known(KERNEL), "=r", [], dtype=gl.int32, is_pure=False, pack=1)
    grid.wait(EARLY)
    bars = room + SLOTS * (M + N) * _LINE
    for step in range(gl.cdiv(k, _STEP)):
        slot = step % SLOTS
        gl.inline_asm_elementwise(
            _asked(KERNEL, M, N, TURNED), "=r,r,r,r,r,r,r,r",
            [room + slot * ((M + N) * _LINE), bars + slot * 8, bars + (SLOTS + slot) * 8, (step // SLOTS + 1) & 1,
             step * _STEP, row, column],
            dtype=gl.int32, is_pure=False, pack=1,
        )  # fmt: skip
    if len(beside) > 0:
        mbarrier.expect(kept_full.index(0), M * N * 2)
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
    bars = room + SLOTS * (M + N) * _LINE
    accs = ()
    for _ in gl.static_range(len(PARTS)):
        accs = accs + (gl.zeros((M, PIECE), gl.float32, layout_of(PIECE, WARPS)),)
    steps = gl.cdiv(k, _STEP)
    for step in range(steps):
        slot, before = step % SLOTS, (step + SLOTS - 1) % SLOTS
        wanted = ((step > 0) & (step + SLOTS <= steps)).to(gl.int32)
        accs = gl.inline_asm_elementwise(
            _multiplied(M, N, TURNED, WARPS, KIND, PIECE), _tied(N // 2, 5 * PIECE // 2),
            accs + (room + slot * ((M + N) * _LINE), bars + slot * 8, step // SLOTS & 1,
                    bars + (SLOTS + before) * 8, wanted),
            dtype=_floats(len(PARTS)), is_pure=False, pack=PIECE // 2,
        )  # fmt: skip
    return gl.inline_asm_elementwise(
        _LAST, _tied(N // 2, 0), accs, dtype=_floats(len(PARTS)), is_pure=False, pack=PIECE // 2
    )


@gluon.jit
def multiply(
    output, beside, kept, kept_full, extra, told, moments, uniforms, room, m, n, k, row, column, body: gl.constexpr,
    kinds: gl.constexpr, PARTS: gl.constexpr, WIDTH: gl.constexpr, STANDING: gl.constexpr, M: gl.constexpr,
    SLOTS: gl.constexpr, TURNED: gl.constexpr, WARPS: gl.constexpr, EARLY: gl.constexpr,
):  # fmt: skip
    """The tile: its products, the body on them and on what lies beside them, stored."""
    BOX: gl.constexpr = (1, 1, M)
    grid.begin(EARLY)
    lefts = ()
    for part in gl.static_range(len(PARTS)):
        lefts = lefts + (column + part * PARTS[0],)
    parts = moments_of(moments, row, m, M, WARPS, STANDING)
    numbers = numbers_of_parts(extra, 0, row, lefts, m, n, kinds, M, BOX, PARTS, WARPS)
    accs = summed(room, k, M, PARTS, SLOTS, TURNED, WARPS, output[0].dtype)
    standing = standing_of(parts, STANDING)
    if len(beside) > 0:
        mbarrier.wait(kept_full.index(0), 0)
    stored(
        accs, output, len(beside), extra, told, standing, uniforms, numbers, kept, 0, 0, 0, row, lefts, m, n, body,
        kinds, BOX, PARTS, WIDTH, WARPS,
    )  # fmt: skip
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
    kept_full = barriers(1)
    room = gl.inline_asm_elementwise(_room(M, N, SLOTS), "=r", [], dtype=gl.int32, is_pure=False, pack=1)
    gl.inline_asm_elementwise(
        _opened(SLOTS, WARPS), "=r,r", [room + SLOTS * (M + N) * _LINE], dtype=gl.int32, is_pure=False, pack=1
    )
    meet()
    row, column = gl.program_id(0) // across * M, gl.program_id(0) % across * N
    gl.warp_specialize(
        [
            (multiply, (output, beside, kept, kept_full, extra, told, moments, uniforms, room, m, n, k, row, column,
                        body, kinds, PARTS, WIDTH, STANDING, M, SLOTS, TURNED, WARPS, EARLY)),
            (load, (x, w, beside, kept, kept_full, room, k, row, column, "straight", M, N, SLOTS, TURNED, EARLY)),
        ],
        [1], [24],
    )  # fmt: skip
