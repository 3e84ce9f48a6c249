"""The case table as AArch64 code: one static program that runs every kernel once, under qemu-user."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu import pointwise, reduce
from tenfold.codegen.cpu.attention import strategy as attention
from tenfold.codegen.cpu.link import Unit, link
from tenfold.codegen.cpu.standalone import CODE_ADDRESS, DATA_ADDRESS, static_elf
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Address, Kernel, Refusal, Strategy
from tenfold.ir.graph import Value
from tests.codegen.cpu import cases, jit
from tests.codegen.cpu.cases import Case
from tests.codegen.cpu.checking import TARGETS, contents, judge
from tests.codegen.cpu.emulated import DRIVER, Image
from tests.codegen.cpu.running import number

_MOST = 30_000


@dataclass(frozen=True)
class Turn:
    """One kernel of a case, at one of its sizes."""

    case: Case
    region: Region
    kernel: Kernel
    bindings: Mapping[str, int]
    before: dict[Value, np.ndarray]


def turns(strategy: Strategy, table: tuple[Case, ...]) -> Iterator[Turn]:
    """Every tactic of every case, at the first, a middle and the last of its sizes that are small."""
    for case in table:
        region = case.region()
        tactics = strategy.tactics(region, TARGETS["aarch64"])
        assert not isinstance(tactics, Refusal)
        count = len(case.bindings)
        for tactic in tactics:
            kernel = strategy.build(region, tactic, TARGETS["aarch64"])
            for which in sorted({0, count // 2, count * 3 // 4}):
                before = contents(region, case, case.bindings[which])
                if sum(map(np.size, before.values())) <= _MOST:
                    yield Turn(case, region, kernel, case.bindings[which], before)


@pytest.mark.parametrize(
    ("strategy", "table"),
    [
        pytest.param(pointwise.STRATEGY, cases.POINTWISE, id="pointwise"),
        pytest.param(pointwise.STRATEGY, (*cases.EMIT[::2], *cases.CASTS[::7]), id="emit"),
        pytest.param(reduce.STRATEGY, cases.ROW, id="reduce"),
        pytest.param(attention.STRATEGY, cases.ATTENTION, id="attention"),
    ],
)
def test_aarch64_code(strategy: Strategy, table: tuple[Case, ...], tmp_path: Path) -> None:
    emulator = shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("needs qemu-aarch64, of Debian's qemu-user")
    image, units, rows = Image(), {}, []
    played = list(turns(strategy, table))
    places: list[dict[Value, int]] = []
    for turn in played:
        places.append({value: image.add(array.tobytes()) for value, array in turn.before.items()})
        for stage in turn.kernel.stages:
            words = [
                places[-1][one.value] + number(one.offset, turn.bindings)
                if isinstance(one, Address)
                else number(one, turn.bindings)  # type: ignore[arg-type]
                for one in stage.arguments
            ]
            name = units.setdefault(stage.source, f"stage{len(units)}")
            rows.append((name, image.add(struct.pack(f"<{len(words)}q", *words)), number(stage.parts, turn.bindings)))
    objects = [Unit(name, jit.object_of(text, jit.AARCH64), {"stage": name}) for text, name in units.items()]
    blob = link([*objects, Unit("driver", jit.object_of(DRIVER, jit.AARCH64), {"driver": "driver"})])
    table_words = [word for name, args, parts in rows for word in (CODE_ADDRESS + blob.entries[name], args, parts)]
    where = image.add(struct.pack(f"<{len(table_words) + 1}q", *table_words, 0))
    scratch = image.add(bytes(max(turn.kernel.scratch for turn in played) + 64))
    program = tmp_path / "program"
    program.write_bytes(static_elf(blob, "driver", "aarch64", bytes(image.data), (where, scratch)))
    program.chmod(0o700)
    done = subprocess.run([emulator, program], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for turn, addresses in zip(played, places, strict=True):
        after = {}
        for value, array in turn.before.items():
            start = addresses[value] - DATA_ADDRESS
            after[value] = np.frombuffer(done.stdout[start : start + array.nbytes], np.uint8).view(array.dtype)
        judge(turn.region, turn.case, turn.bindings, turn.before, after)
