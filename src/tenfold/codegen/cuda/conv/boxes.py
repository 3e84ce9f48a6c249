"""Convolutions and products whose operands move by descriptor, a box of the image a tap: padding and borders are the
zeros that lie outside. Tiles, teams and slices, and the launch of one choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

from tenfold.codegen.cuda import emit, grid, moments
from tenfold.codegen.cuda.arch import PROCESSORS, Arch, arch_of
from tenfold.codegen.cuda.conv import cluster as clusters
from tenfold.codegen.cuda.conv import turning
from tenfold.codegen.cuda.conv.plan import Plan, View, plan_of
from tenfold.codegen.cuda.conv.standing import settled
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Launch, boxed, launch, number, numbers, place, uniforms
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.cuda.site import slices_of
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal, Tactic, Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.target import Target

_USUAL = 1 << 12
_PRODUCTS, _LOADED, _STORED, _COPIED = 3000.0, 100.0, 40.0, 4000.0
"""Products, bytes from L2 and bytes to L2 a nanosecond of a multiprocessor; bytes of memory a nanosecond of all."""
_START, _STEP, _END, _TURN, _MEETING = 1500.0, 150.0, 500.0, 100.0, 1500.0
"""Nanoseconds to start, at least for a step, to end a tile, to let the other team go on, and for slices to meet."""
_DELAY, _PART, _OUTSIDE = 1300.0, 40.0, 3.4
"""Of elements of 32 bits, nanoseconds from asking to arriving, which slots share, of a second part of a step's columns,
and of a row that lies outside.
"""
_NEAR = 700.0
"""Nanoseconds for blocks of a cluster to meet."""
_IDLE = 250.0
"""Nanoseconds that a second team costs where no block has a second tile."""
_SOONER = 300.0
"""Nanoseconds that a block gains which finds room beside the kernel ahead."""
_LEAST = 4
"""Slots that two teams take turns with."""
_SUMS = 1 << 17
"""Bytes of sums that the last slice of a tile reads at most."""
_BESIDE, _SHARED_REGISTERS = 128 * 64, 128
"""Sums of a tile that leave room for a second block on a multiprocessor; registers of a thread then."""
_KERNEL = "tenfold.codegen.cuda.conv.teams:boxes"


def _deep(plan: Plan, tactic: Tactic) -> int:
    """Terms of a step as the tactic says."""
    return tactic.number("k", plan.depth)


def _box(sizes: tuple[Size, ...], m: int) -> tuple[int, int, int]:
    """Images, rows and pixels of a tile, with the least outside; among equals the widest."""
    known = [dim.bounds(size)[1] or _USUAL for size in sizes]
    powers = [1 << power for power in range(m.bit_length())]
    boxes = [(m // (high * wide), high, wide) for high, wide in product(powers, powers) if high * wide <= m]

    def walked(box: tuple[int, int, int]) -> tuple[int, ...]:
        whole = math.prod(-(-size // one) * one for size, one in zip(known, box, strict=True))
        return whole, max(box) > 256, box[0], box[1]

    return min(boxes, key=walked)


def _rows(plan: Plan, m: int) -> int:
    """Rows of all tiles, those outside the images too."""
    box = _box(plan.sizes, m)
    return math.prod(
        -(-(dim.bounds(size)[1] or _USUAL) // one) * one for size, one in zip(plan.sizes, box, strict=True)
    )


def _count(plan: Plan, m: int, n: int) -> int:
    """Tiles of so many rows and columns."""
    return _rows(plan, m) // m * -(-plan.n // n)


def _steps(plan: Plan, K: int) -> int:
    """Steps of a sum, of so many terms of a tap each."""
    return math.prod(plan.taps) * -(-plan.k // K)


def _in_parts(plan: Plan, n: int) -> dict[str, int] | None:
    """What a tile of so many columns says of their parts: nothing where they are a power of two; None if a tile would
    have columns that do not exist.
    """
    return {} if n & (n - 1) == 0 else {"parts": 2} if plan.n % n == 0 else None


class Boxes:
    """Convolutions of any stride and products, for machines with TMA and warp groups."""

    name = "boxes"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes and teams."""
        return tactics_of(self.name, plan_of(region, target), target)

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about."""
        plan = plan_of(region, target)
        assert isinstance(plan, Plan)
        return guess(plan, tactic, target)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of at most a block a multiprocessor."""
        plan = plan_of(region, target)
        assert isinstance(plan, Plan)
        ahead, bytes = turning.ahead_of(plan, target)
        made, room, zeroed = launch_of(plan, tactic, target, behind=bytes)
        return CudaKernel(launches=(*ahead, made), workspace=room, zeroed=zeroed)


def tactics_of(name: str, plan: Plan | Refusal, target: Target) -> list[Tactic] | Refusal:
    """Tile shapes and teams for a plan."""
    arch = arch_of(target)
    if arch.no_teams:
        return Refusal(arch.no_teams)
    if isinstance(plan, Refusal):
        return plan
    every = (
        *_tiles(plan, arch),
        *_parted(plan, arch),
        *_together(plan, arch),
        *_alone(plan, arch),
        *_clustered(plan, arch),
    )
    if plan.halves:
        every = tuple({**one, "parts": 2} for one in _tiles(plan, arch) if one["slices"] == 1 and one["n"] >= 64)
    found = [Tactic(name, tuple(one.items())) for one in every]
    width = _told(plan)[1]
    return [one for one in found if all(part % width == 0 for part in _ended(one))] if width else found


def _told(plan: Plan) -> tuple[tuple[Filling, ...], int]:
    """Where moments go, with the steps from the sums to their squares and from part to part; the columns of a part."""
    told = plan.region.moments
    if told is None:
        return (), 0
    return (place(told), *numbers(told.strides[:2])), moments.width_of(told, plan.region.outputs[0])


def _parts(tactic: Tactic) -> tuple[int, ...]:
    """The parts that a tile's columns come in: all at once; or two, of which the first is a power of two."""
    n = int(tactic["n"])
    if "parts" not in tactic:
        return (n,)
    first = grid.power_of_two(n) // 2
    return (first, n - first)


def _cluster(tactic: Tactic) -> int:
    """How many blocks of a cluster share a tile; 1 where there is none."""
    return int(tactic["slices"]) if "cluster" in tactic else 1


def _ended(tactic: Tactic) -> tuple[int, ...]:
    """The parts of a tile's columns that a block ends."""
    return tuple(part // _cluster(tactic) for part in _parts(tactic))


def guess(plan: Plan, tactic: Tactic, target: Target) -> float:
    """Nanoseconds, about: rounds of tiles, whose ends cost nothing where another team multiplies meanwhile."""
    m, n, slices, teams = (int(tactic[name]) for name in ("m", "n", "slices", "teams"))
    size, K, whole = plan.size, _deep(plan, tactic), _rows(plan, m)
    across = -(-plan.n * (2 if plan.halves else 1) // n)
    rounds = -(-(whole // m * across * slices) // arch_of(target).processors)
    step = _step(plan, tactic)
    sums = -(-_steps(plan, K) // slices) * step
    end = _END + len(plan.full) * m * n * size / _STORED
    ended = 2 if "together" in tactic else slices
    meeting = (_MEETING + ended * m * n * 4 / _STORED) if slices > 1 else 0.0
    if _cluster(tactic) > 1:
        end, meeting = end / slices, _NEAR + m * n * 4 / _STORED
    rest = (rounds - 1) * (sums + end if teams == 1 else max(sums + _TURN, (sums + end) / 2))
    moved = (whole * (plan.k + len(plan.full) * plan.n) + plan.n * plan.k * math.prod(plan.taps)) * size
    idle = _IDLE if teams == 2 and rounds == 1 else 0.0
    start = _START + turning.guess(plan) + idle - (_SOONER if "blocks" in tactic else 0.0)
    return start + max(rest + sums + end + meeting, moved / _COPIED)


def _step(plan: Plan, tactic: Tactic) -> float:
    """Nanoseconds, about, of a step of a tile."""
    m, n, K, size = int(tactic["m"]), int(tactic["n"]), _deep(plan, tactic), plan.size
    step = max(m * n * K * size / (2 * _PRODUCTS), (m + n) * K * size / _LOADED, _STEP)
    if size == 2:
        return step
    return max(step, _DELAY / int(tactic["slots"])) + _PART * (len(_parts(tactic)) - 1) + outside(plan, m)


def outside(plan: Plan, m: int) -> float:
    """Nanoseconds, about, that the rows of a step cost that lie outside where there is less than a tile."""
    rows = math.prod(dim.bounds(size)[1] or _USUAL for size in plan.sizes)
    return 0.0 if plan.size == 2 else _OUTSIDE * max(0, m - rows)


def launch_of(
    plan: Plan, tactic: Tactic, target: Target, image: Workspace | None = None, behind: Size = 0
) -> tuple[Launch, Size, Size]:
    """The launch for a plan, whose image lies at `image` if that is given; bytes of workspace from `behind` on, bytes
    of counters.
    """
    m, N, slices, teams, slots = (int(tactic[name]) for name in ("m", "n", "slices", "teams", "slots"))
    blocks, together, cluster = tactic.number("blocks", 1), "together" in tactic, _cluster(tactic)
    box, K, size = _box(plan.sizes, m), _deep(plan, tactic), plan.size
    counts = [dim.ceildiv(size, one) for size, one in zip(plan.sizes, box, strict=True)]
    parts = _parts(tactic)
    across, stored = dim.ceildiv(plan.n, parts[0] if plan.halves else N), _ended(tactic)[: 1 if plan.halves else None]
    end = _share(box, slices) if together else box
    full = [tuple(boxed(one.operand, (*end, n), one.shape, one.strides) for n in stored) for one in plan.full]
    tiles, warps = dim.product((*counts, across)), int(tactic["warps"])
    told, width = _told(plan)
    beside = settled(plan.region, plan.kinds, [view.operand for view in plan.extra], plan.sizes[2])
    sums, room, zeroed = slices_of(tiles, m, N, slices if cluster == 1 else 1, behind)
    fillings: dict[str, Filling] = {
        "x": plan.tiles(plan.x, (box[0], box[1], 1, box[2], K), image),
        "w": tuple(plan.tiles(plan.w, (n, K) if plan.turned else (K, n), turning.place_of(plan)) for n in parts),
        "output": full[0],
        "beside": full[1] if full[1:] else (),
        "extra": (*(_number(plan.kinds[one], plan.extra[one]) for one in beside.kept), *(0 for _ in beside.made)),
        "told": told,
        "moments": beside.moments,
        "uniforms": uniforms(plan.region.uniforms),
        **sums,
        "tiles": number(tiles),
        "counts": numbers((across, counts[2], counts[1])),
        **{"m": number(plan.sizes[2]), "n": plan.n, "k": plan.k},
        "body": Hole(emit.gluon_text(beside.body)),
        "kinds": (*(plan.kinds[one] for one in beside.kept), *beside.made),
        **{"ALONG": plan.taps[1], "TAPS": math.prod(plan.taps)},
        **{"steps": plan.steps, "dilations": plan.dilations, "pads": plan.pads, "box": box, "END": end},
        "PARTS": parts,
        "APART": plan.n if plan.halves else 0,
        "WIDTH": width,
        "STANDING": beside.standing,
        "BYTES": ((m + N) * K * size, math.prod(end) * (N // cluster) * size),
        **{"K": K, "SLOTS": slots, "TEAMS": teams, "WARPS": warps, "SLICES": slices},
        "CLUSTER": cluster,
        "TURNED": int(plan.turned),
        "AHEAD": int(plan.constant and (slices == 1 or together or cluster > 1)),
        "EARLY": int(arch_of(target).early),
    }
    most = tiles * slices if cluster > 1 else dim.minimum(tiles * slices, PROCESSORS * blocks)
    return launch(_KERNEL, most, fillings, warps, registers=_SHARED_REGISTERS if blocks > 1 else 0), room, zeroed


def _number(kind: int, view: View) -> Filling:
    """Where the numbers beside a tile lie, the stride from image to image and how many images there are; nothing for
    what comes by descriptor.
    """
    if kind == 4:
        return (place(view.operand), number(view.strides[0]), number(view.shape[0]))
    return 0 if kind == 3 else place(view.operand)


def _tiles(plan: Plan, arch: Arch) -> Iterator[dict[str, int]]:
    """Tiles, teams and slots: as many slots as there is room for, slices where tiles are too few, and `blocks` of 2
    where so many share a multiprocessor, so that one starts while another ends.
    """
    size, widest = plan.size, max(32, grid.power_of_two(plan.n))
    usual = plan.depth
    steps = _steps(plan, usual)
    wider = (plan.line,) if usual < plan.line and plan.taps == (1, 1) and plan.k > usual else ()
    for (m, n, teams, warps), K in product(_shapes(arch, size, usual), (usual, *wider)):
        deeper = {} if usual == K else {"k": K}
        slots = _ring(arch, m, n, teams, size, K)
        if n > widest:
            continue
        for slices in (1, 2, 4, 8):
            each, fits = -(-steps // slices), slices * m * n * 4 <= _SUMS
            few = _count(plan, m, n) * slices <= 2 * arch.processors
            useful = slices == 1 or (fits and few and each >= 4 and each * (slices - 1) < steps)
            if useful and slots >= _LEAST - 1:
                whole = {"m": m, "n": n, "slices": slices, "teams": teams, "warps": warps, "slots": slots}
                yield whole | deeper
        if warps == 4 and m * n <= _BESIDE:
            yield from _halves(plan, arch, m, n, K)


def _shapes(arch: Arch, size: int, K: int) -> list[tuple[int, int, int, int]]:
    """Tiles of which two teams have slots enough, then the others for one."""
    both = [one for one in _SHAPES if one[2] == 1 or _ring(arch, *one[:3], size, K) >= _LEAST]
    return both + [(m, n, 1, warps) for m, n, teams, warps in _SHAPES if (m, n, teams, warps) not in both]


def _ring(arch: Arch, m: int, n: int, teams: int, size: int, K: int) -> int:
    """As many slots as there is room for beside the results of all teams."""
    return min(8, (arch.shared - 1024 - teams * m * n * size) // ((m + n) * K * size))


def _halves(plan: Plan, arch: Arch, m: int, n: int, K: int) -> Iterator[dict[str, int]]:
    """Tiles of blocks that take half of a multiprocessor."""
    size = plan.size
    for deep in (K, *((2 * K,) if plan.line == K and plan.k % (2 * K) == 0 else ())):
        slots = min(8, (arch.shared // 2 - 2048 - m * n * size) // ((m + n) * deep * size))
        if slots >= 2:
            yield {"m": m, "n": n, "slices": 1, "teams": 1, "warps": 4, "slots": slots, "blocks": 2, "k": deep}


def _share(box: tuple[int, int, int], slices: int) -> tuple[int, int, int]:
    """What each of so many slices of a tile ends: so many of its images, rows or pixels."""
    axis = next(axis for axis in range(3) if box[axis] > 1)
    images, rows, pixels = (size // slices if at == axis else size for at, size in enumerate(box))
    return images, rows, pixels


def _together(plan: Plan, arch: Arch) -> Iterator[dict[str, int]]:
    """Tiles whose slices wait for each other, and end a share of the rows each: large ones, which read least, of few
    rows, where all slices are under way at once.
    """
    size, K = plan.size, plan.depth
    steps = _steps(plan, K)
    for m, n, warps in _TOGETHER:
        tiles, along = _count(plan, m, n), next(one for one in _box(plan.sizes, m) if one > 1)
        slices = next((one for one in (8, 4, 2) if tiles * one <= arch.processors and along % one == 0), 1)
        each = -(-steps // slices)
        slots = min(each, 12, (arch.shared - 2048 - m * n * size // slices) // ((m + n) * K * size))
        useful = slices > 1 and each >= 3 and each * (slices - 1) < steps and 3 * tiles * slices > arch.processors
        parts = _in_parts(plan, n)
        if useful and slots >= 2 and plan.n > n // 2 and parts is not None:
            found = {"m": m, "n": n, "slices": slices, "teams": 1, "warps": warps, "slots": slots, "together": 1}
            yield found | parts


def _filled(plan: Plan, m: int, n: int) -> bool:
    """Whether half of a tile and more is rows and columns that exist."""
    return plan.n > n // 2 and math.prod(dim.bounds(size)[1] or _USUAL for size in plan.sizes) > m // 2


def _alone(plan: Plan, arch: Arch) -> Iterator[dict[str, int]]:
    """Tiles of which no multiprocessor has a second: one team, and slots where the other's results would be."""
    size, K = plan.size, plan.depth
    steps = _steps(plan, K)
    for m, n in _ALONE:
        slots = min(16, (arch.shared - 2048 - m * n * size) // ((m + n) * K * size))
        if _filled(plan, m, n) and _count(plan, m, n) <= arch.processors and steps > 8:
            yield {"m": m, "n": n, "slices": 1, "teams": 1, "warps": 4, "slots": slots}


def _clustered(plan: Plan, arch: Arch) -> Iterator[dict[str, int]]:
    """Tiles whose slices are a cluster's, where whole tiles are too few for the machine: the larger ones read less, and
    clusters meet sooner than blocks anywhere.
    """
    size, K = plan.size, plan.depth
    steps = _steps(plan, K)
    for m, n, slices, warps in _CLUSTERED:
        tiles, room = _count(plan, m, n), clusters.room_of(m, n, slices)
        slots = min(steps // slices, 16, (arch.shared - 2048 - room - m * n * size // slices) // ((m + n) * K * size))
        busy, parts = 3 * tiles * slices > arch.processors and tiles <= _AT_ONCE[slices], _in_parts(plan, n)
        if busy and steps % slices == 0 and slots >= 3 and _filled(plan, m, n) and parts is not None:
            found = {"m": m, "n": n, "slices": slices, "teams": 1, "warps": warps, "slots": slots, "cluster": 1}
            yield found | parts


def _parted(plan: Plan, arch: Arch) -> Iterator[dict[str, int]]:
    """Tiles whose columns come in two parts: as wide as no power of two, or so wide that the results leave one after
    the other and make room for a slot.
    """
    size, K = plan.size, plan.depth
    for m, n, teams, warps in _PARTED:
        kept = n if len(plan.full) > 1 or n & (n - 1) else n // 2
        slots = min(8, (arch.shared - 1024 - teams * m * kept * size) // ((m + n) * K * size))
        if slots >= 3 and plan.n > n // 2 and (plan.n % n == 0 or n >= 192):
            yield {"m": m, "n": n, "slices": 1, "teams": teams, "warps": warps, "slots": slots, "parts": 2}


_PARTED = ((128, 256, 1, 8), (128, 192, 1, 8), (128, 96, 2, 4), (64, 192, 2, 4))
"""Rows and columns of a tile in parts, teams, warps of one."""

_TOGETHER = ((128, 96, 8), (128, 128, 8), (128, 64, 8), (64, 128, 4), (64, 64, 4), (64, 96, 4), (128, 192, 8))
"""Rows and columns of a tile whose slices end it together, warps."""

_ALONE = ((64, 64), (128, 64), (64, 32))
"""Rows and columns of a tile that a block has alone."""

_CLUSTERED = ((64, 192, 2, 4), (64, 64, 2, 4), (64, 128, 2, 4), (64, 64, 4, 4))
"""Rows and columns of a tile that a cluster shares, its blocks, warps."""

_AT_ONCE = {2: 66, 4: 30}
"""Clusters of so many blocks that run at once: a part of the chip may have 14 or 18 multiprocessors."""

_SHAPES = (
    (128, 128, 2, 4),
    (128, 64, 2, 4),
    (256, 64, 2, 4),
    (64, 128, 2, 4),
    (64, 256, 2, 4),
    (64, 64, 2, 4),
    (128, 256, 1, 8),
    (256, 128, 1, 8),
    (128, 32, 2, 4),
    (64, 32, 2, 4),
)
"""Rows and columns of a tile, teams, warps of one."""

STRATEGY = Boxes()
