"""Slices of a tile in the blocks of a cluster, which add them up through each other's shared memory.

Blocks meet in rounds, each with the one whose number differs in one bit: a block gives half of the columns that it
still has and takes the other half, so that it is left with a share of them. What is given goes straight from registers
to the peer's shared memory, four sums of a thread at a time, and counts there at a barrier. Gluon has no words for
another block's memory, so these are PTX: the room is declared in it, and lies at the same place in every block.
"""

from __future__ import annotations

import triton
from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from tenfold.codegen.cuda.conv.dialect import layout_of, meet

_LINE, _SIGNS = 1024, 512
"""What the room is a multiple of, as tiles behind it are aligned; bytes of it for barriers and signs."""


@triton.constexpr_function
def room_of(m, n, slices):
    """Bytes of shared memory in which sums of a tile of m by n arrive."""
    return -(-(m * n * 4 * (slices - 1) // slices + _SIGNS) // _LINE) * _LINE


@triton.constexpr_function
def _room(m, parts, slices):
    """PTX that declares the room, and gives its address."""
    return f"{{ .shared .align {_LINE} .b8 room[{room_of(m, sum(parts), slices)}]; mov.u32 $0, room; }}"


@triton.constexpr_function
def _rounds(slices):
    """How often blocks meet."""
    return slices.bit_length() - 1


@triton.constexpr_function
def _given(m, parts, turn):
    """Bytes that a block is given in a round."""
    return m * sum(parts) * 4 >> (turn + 1)


@triton.constexpr_function
def _start(m, parts, turn, part):
    """Where sums of a part arrive in a round, behind those of the rounds and parts before."""
    return sum(_given(m, parts, before) for before in range(turn)) + _given(m, parts[:part], turn)


@triton.constexpr_function
def _barrier(m, parts, slices, turn):
    """Where the barrier of a round lies, and 8 bytes on its peer's sign."""
    return room_of(m, sum(parts), slices) - _SIGNS + 16 * turn


@triton.constexpr_function
def _opened(size):
    """PTX by which one thread makes a barrier ($1) for so many bytes, and waits until the peer ($3) has made its own.

    A sign ($2) is cleared before one is given. It is given twice, for the first may come before the peer has cleared
    its own; the second, given when the peer's has come, cannot.
    """
    return f"""{{
        .reg .pred p;
        .reg .u32 sign, far;
        mov.u32 sign, %tid.x;
        setp.ne.u32 p, sign, 0;
        @p bra READY;
        mbarrier.init.shared::cta.b64 [$1], 1;
        mbarrier.arrive.expect_tx.shared::cta.b64 _, [$1], {size};
        st.shared::cta.u32 [$2], 0;
        fence.mbarrier_init.release.cluster;
        fence.acq_rel.cta;
        mapa.shared::cluster.u32 far, $2, $3;
        st.relaxed.cluster.shared::cluster.u32 [far], 1;
        WAIT:
        ld.acquire.cluster.shared::cta.u32 sign, [$2];
        setp.ne.u32 p, sign, 1;
        @p bra WAIT;
        st.relaxed.cluster.shared::cluster.u32 [far], 1;
        READY:
        mov.u32 $0, 0;
    }}"""


_FAR = gl.constexpr("mapa.shared::cluster.u32 $0, $1, $2;")
_GIVE = gl.constexpr(
    "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [$8], {$4, $5, $6, $7}, [$12];"
    " mov.u32 $0, 0; mov.u32 $1, 0; mov.u32 $2, 0; mov.u32 $3, 0;"
)
_AWAIT = gl.constexpr(
    "{ .reg .pred p; WAIT: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [$1], 0;"
    " @!p bra WAIT; mov.u32 $0, 0; }"
)
_TAKE = gl.constexpr("ld.shared::cta.v4.f32 {$0, $1, $2, $3}, [$4];")


@gluon.jit
def make_room(M: gl.constexpr, PARTS: gl.constexpr, SLICES: gl.constexpr):
    """The address of the room."""
    return gl.inline_asm_elementwise(_room(M, PARTS, SLICES), "=r", [], dtype=gl.int32, is_pure=False, pack=1)


@gluon.jit
def far_of(address, peer):
    """The same address in a peer's shared memory."""
    return gl.inline_asm_elementwise(_FAR, "=r,r,r", [address, peer], dtype=gl.int32, is_pure=True, pack=1)


@gluon.jit
def open_room(room, M: gl.constexpr, PARTS: gl.constexpr, SLICES: gl.constexpr):
    """From here on peers may give: all barriers are there. For the team that the block's first thread is of."""
    for turn in gl.static_range(_rounds(SLICES)):
        peer = gl.program_id(0) % SLICES ^ (SLICES >> (turn + 1))
        bar = room + _barrier(M, PARTS, SLICES, turn)
        gl.inline_asm_elementwise(
            _opened(_given(M, PARTS, turn)), "=r,r,r,r", [bar, bar + 8, peer], dtype=gl.int32, is_pure=False, pack=1
        )
    meet()


@gluon.jit
def places(M: gl.constexpr, N: gl.constexpr, WARPS: gl.constexpr):
    """How far from the beginning sums lie: four of a thread side by side, then those of its warp's others."""
    layout: gl.constexpr = layout_of(N, WARPS)
    row = gl.expand_dims(gl.arange(0, M, layout=gl.SliceLayout(1, layout)), 1)
    column = gl.expand_dims(gl.arange(0, N, layout=gl.SliceLayout(0, layout)), 0)
    lane = row % 8 * 4 + column % 8 // 2
    return ((row // 16 * (N // 8) + column // 8) * 32 + lane) * 16 + (row % 16 // 8 * 2 + column % 2) * 4


@gluon.jit
def give(acc, begin, bar, peer, upper, M: gl.constexpr, W: gl.constexpr, WARPS: gl.constexpr):
    """One half of the columns goes to the peer; the other, W of them, is what is left."""
    low, high = acc.reshape((M, 2, W)).permute((0, 2, 1)).split()
    low, high = gl.convert_layout(low, layout_of(W, WARPS)), gl.convert_layout(high, layout_of(W, WARPS))
    at = places(M, W, WARPS)
    gl.inline_asm_elementwise(
        _GIVE, "=r,=r,=r,=r,f,f,f,f,r,r,r,r,r,r,r,r",
        [gl.where(upper, low, high), far_of(begin, peer) + at, far_of(bar, peer) + at * 0],
        dtype=gl.int32, is_pure=False, pack=4,
    )  # fmt: skip
    return gl.where(upper, high, low)


@gluon.jit
def take(acc, begin, M: gl.constexpr, W: gl.constexpr, WARPS: gl.constexpr):
    """The sums with what the peer gave."""
    at = begin + places(M, W, WARPS)
    return acc + gl.inline_asm_elementwise(_TAKE, "=f,=f,=f,=f,r,r,r,r", [at], dtype=gl.float32, is_pure=False, pack=4)


@gluon.jit
def exchanged(
    accs, room, turn: gl.constexpr, M: gl.constexpr, PARTS: gl.constexpr, SLICES: gl.constexpr, WARPS: gl.constexpr
):  # fmt: skip
    """The halves of all parts of the columns that are this block's after a round."""
    own = gl.program_id(0) % SLICES
    peer, upper = own ^ (SLICES >> (turn + 1)), own // (SLICES >> (turn + 1)) % 2 == 1
    bar = room + _barrier(M, PARTS, SLICES, turn)
    kept = ()
    for part in gl.static_range(len(PARTS)):
        begin = room + _start(M, PARTS, turn, part)
        kept = kept + (give(accs[part], begin, bar, peer, upper, M, PARTS[part] >> (turn + 1), WARPS),)
    gl.inline_asm_elementwise(_AWAIT, "=r,r", [bar], dtype=gl.int32, is_pure=False, pack=1)
    found = ()
    for part in gl.static_range(len(PARTS)):
        begin = room + _start(M, PARTS, turn, part)
        found = found + (take(kept[part], begin, M, PARTS[part] >> (turn + 1), WARPS),)
    return found


@gluon.jit
def shared_out(accs, room, M: gl.constexpr, PARTS: gl.constexpr, SLICES: gl.constexpr, WARPS: gl.constexpr):
    """The sums of all slices of a tile, whose columns come in parts: of each, the share that is this block's to end."""
    for turn in gl.static_range(_rounds(SLICES)):
        accs = exchanged(accs, room, turn, M, PARTS, SLICES, WARPS)
    return accs
