"""The table of instruction sets."""

from __future__ import annotations

import pytest

from tenfold.codegen.cpu.isa import ROWS, isa_of, machine_caches
from tenfold.errors import TargetError
from tenfold.target import Target


def test_every_cpu_level_has_a_row() -> None:
    for row in ROWS:
        (target,) = Target.parse(f"cpu:{row.level}")
        assert isa_of(target) == row
        assert row.lanes(4) * 4 == row.vector_bytes


def test_the_native_row_has_this_machines_caches() -> None:
    isa = isa_of(Target.host())
    for name, size in machine_caches().items():
        assert getattr(isa, name) == size
    assert isa.triple == isa_of(Target.host().portable).triple


def test_a_gpu_has_none() -> None:
    with pytest.raises(TargetError, match="cuda:sm_90"):
        isa_of(Target.parse("cuda:sm_90")[0])
