"""What Gluon's versions call differently, the layouts of sums, and barriers."""

from __future__ import annotations

import triton
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma

copy_in = getattr(tma, "async_load", None) or tma.async_copy_global_to_shared
copy_out = getattr(tma, "async_store", None) or tma.async_copy_shared_to_global
meet = getattr(gl, "barrier", None) or gl.thread_barrier


@triton.constexpr_function
def width_of(parts, apart):
    """Columns of a tile's results; parts that lie apart meet in one."""
    return parts[0] if apart else sum(parts)


@triton.constexpr_function
def layout_of(columns, warps, terms=16):
    """The layout of sums, of products of so many terms at a time."""
    return gl.NVMMADistributedLayout([3, 0], [warps, 1], [16, columns, terms])


@triton.constexpr_function
def terms_of(kind):
    """Terms that tensor cores take at a time: 32 bytes of them."""
    return 256 // kind.primitive_bitwidth


@triton.constexpr_function
def layout_of_end(rows, columns, m, warps):
    """The layout in which a tile of m rows is ended: that of its sums, or where slices share it, rows side by side."""
    if rows == m:
        return layout_of(columns, warps)
    across = min(32, columns // 4)
    return gl.BlockedLayout([1, 4], [32 // across, across], [warps, 1], [1, 0])


@gluon.jit
def barriers(COUNT: gl.constexpr, ARRIVALS: gl.constexpr = 1, USED: gl.constexpr = True):
    """So many barriers, each passed when so many have arrived; none if they are not USED.

    The GPU writes to where a barrier lies for as long as it is one: when another process has had its turn, too. So its
    memory must not become something else's, which Triton sees to as long as the barrier is used: none is made that is
    not used, and one that is passed early is invalidated at the kernel's end.
    """
    if USED:
        found = gl.allocate_shared_memory(gl.int64, [COUNT, 1], mbarrier.MBarrierLayout())
        for one in gl.static_range(COUNT):
            mbarrier.init(found.index(one), count=ARRIVALS)
        return found
    else:
        return ()
