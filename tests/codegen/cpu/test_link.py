"""The linker: scoping, sharing, relocations of both machines, refusals; and code of another machine on an emulator."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu.isa import ROWS, Isa, isa_of
from tenfold.codegen.cpu.link import Blob, Unit, link
from tenfold.codegen.cpu.pool import CompilePool, Request
from tenfold.codegen.cpu.standalone import CODE_ADDRESS, DATA_ADDRESS, static_elf
from tenfold.errors import UnsupportedError
from tenfold.runtime import steps
from tenfold.runtime.cpu.block import ABI_VERSION, Call, Status
from tenfold.runtime.cpu.code import Code
from tenfold.target import Target
from tests.runtime.cpu.native import image

TABLE = """
@table = private constant [4 x i64] [i64 5, i64 7, i64 9, i64 11]
define i64 @stage(i64 %index) nounwind {{
  %at = getelementptr [4 x i64], ptr @table, i64 0, i64 %index
  %value = load i64, ptr %at
  %sum = add i64 %value, {extra}
  ret i64 %sum
}}
"""
NEEDY = """
declare dso_local i64 @elsewhere(i64)
define i64 @stage(i64 %index) nounwind {
  %value = call i64 @elsewhere(i64 %index)
  %sum = add i64 %value, 1
  ret i64 %sum
}
"""
ELSEWHERE = "define i64 @elsewhere(i64 %x) nounwind {\n %y = mul i64 %x, 10\n ret i64 %y\n}"
STATE = "@state = global i64 0\ndefine i64 @stage(i64 %x) {\n %y = load i64, ptr @state\n ret i64 %y\n}"


@pytest.fixture(scope="module")
def pool():
    with CompilePool(1) as pool:
        yield pool


def compiled(pool: CompilePool, isa: Isa, *sources: str) -> list[bytes]:
    made = pool.compile([Request(source, isa) for source in sources])
    assert all(isinstance(data, bytes) for data in made), made
    return made


def run(blob: Blob, entry: str, value: int) -> int:
    code = Code.from_bytes(blob.code)
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.address + blob.entries[entry])(value)


def test_units_may_define_the_same_symbol(pool: CompilePool) -> None:
    first, second = compiled(pool, isa_of(Target.host()), TABLE.format(extra=0), TABLE.format(extra=100))
    blob = link([Unit("first", first, {"stage": "one"}), Unit("second", second, {"stage": "two"})])
    assert [run(blob, "one", index) for index in range(4)] == [5, 7, 9, 11]
    assert [run(blob, "two", index) for index in range(4)] == [105, 107, 109, 111]


def test_equal_units_share_one_place(pool: CompilePool) -> None:
    (data,) = compiled(pool, isa_of(Target.host()), TABLE.format(extra=0))
    blob = link([Unit("first", data, {"stage": "one"}), Unit("second", data, {"stage": "two"})])
    assert blob.entries["one"] == blob.entries["two"]


def test_the_library_is_linked_when_needed(pool: CompilePool) -> None:
    needy, elsewhere, alone = compiled(pool, isa_of(Target.host()), NEEDY, ELSEWHERE, TABLE.format(extra=0))
    library = [Unit("elsewhere", elsewhere, {"elsewhere": "elsewhere"})]
    assert run(link([Unit("needy", needy, {"stage": "stage"})], library), "stage", 7) == 71
    assert link([Unit("alone", alone)], library) == link([Unit("alone", alone)])


@pytest.mark.parametrize("isa", ROWS, ids=lambda isa: isa.level)
def test_an_undefined_symbol_is_refused_by_name(pool: CompilePool, isa: Isa) -> None:
    (needy,) = compiled(pool, isa, NEEDY)
    with pytest.raises(UnsupportedError, match=r"layer 3: .*'elsewhere'"):
        link([Unit("layer 3", needy, {"stage": "stage"})])


def test_what_is_not_flat_is_refused(pool: CompilePool) -> None:
    isa = isa_of(Target.host())
    state, plain = compiled(pool, isa, STATE, ELSEWHERE)
    with pytest.raises(UnsupportedError, match="writable"):
        link([Unit("stateful", state, {"stage": "stage"})])
    with pytest.raises(UnsupportedError, match="does not define 'stage'"):
        link([Unit("plain", plain, {"stage": "stage"})])
    with pytest.raises(UnsupportedError, match="exported twice"):
        link([Unit("a", plain, {"elsewhere": "x"}), Unit("b", plain, {"elsewhere": "x"})])
    with pytest.raises(UnsupportedError, match="ELF"):
        link([Unit("text", b"not an object")])


@pytest.mark.parametrize("isa", ROWS, ids=lambda isa: isa.level)
def test_an_image_holds_its_stages_and_is_page_free(isa: Isa) -> None:
    made = image(isa)
    assert {"dispatch", "ticks", "increment", "linger"} <= set(made.blob.entries)
    assert set(made.crew.entries) == {"worker", "ticks"}
    assert all(0 <= offset < len(made.blob.code) for offset in made.blob.entries.values())


def emulator(architecture: str) -> list[str]:
    native = Target.host().level == "aarch64" if architecture == "aarch64" else Target.host().level != "aarch64"
    found = shutil.which(f"qemu-{architecture}")
    if not native and not found:
        pytest.skip(f"needs qemu-{architecture}, of Debian's qemu-user")
    return [] if native else [str(found)]


@pytest.mark.parametrize("isa", [row for row in ROWS if row.level != "x86-64-v4"], ids=lambda isa: isa.level)
def test_a_step_table_runs_as_a_static_program(isa: Isa, tmp_path: Path) -> None:
    """The data: call block | frame | steps | argmap | args | binds | cancel | output | copy of the output."""
    blob = image(isa).blob
    names = ("call", "frame", "steps", "argmap", "args", "cancel", "out", "copy", "scratch")
    sizes = (ctypes.sizeof(Call), 16 * 8, 6 * 32, 4 * 4, 8 * 8, 8, 8 * 8, 8 * 8, 256)
    at = dict(zip(names, DATA_ADDRESS + np.cumsum([0, *sizes]), strict=False))
    call = Call(version=ABI_VERSION, threads=1, code=CODE_ADDRESS, yield_ticks=2**40, stride=64)
    for name in ("frame", "steps", "argmap", "args", "cancel", "scratch"):
        setattr(call, name, int(at[name]))
    frame = np.zeros(16, np.int64)
    frame[[1, 3, 4, 5, 6, 7]] = 1000, 8, at["out"], 50, at["copy"], 60
    rows = steps.table(
        [
            steps.call(blob.entries["linger"], 0, 2, parts=3),
            steps.call(blob.entries["increment"], 0, 1, parts=3),
            steps.loop(0, 1, 0),
            steps.copy(6, 4, 7),
            steps.end(),
            steps.end(),
        ]
    )
    argmap = np.array([4, 5, 0, 0], np.int32)
    parts = [bytes(call), frame.tobytes(), rows.tobytes(), argmap.tobytes()]
    data = b"".join(parts).ljust(sum(sizes), b"\0")
    program = tmp_path / "program"
    program.write_bytes(static_elf(blob, "dispatch", isa.architecture, data, (DATA_ADDRESS, 0)))
    program.chmod(0o700)
    done = subprocess.run([*emulator(isa.architecture), program], capture_output=True, timeout=60)
    assert done.returncode == Status.DONE, done.stderr
    assert len(done.stdout) == len(data)
    out = at["out"] - DATA_ADDRESS
    assert struct.unpack_from("<8q", done.stdout, out) == (2000,) * 8
    assert done.stdout[out + 64 : out + 124] == done.stdout[out : out + 60]
    assert done.stdout[out + 124 : out + 128] == bytes(4)
