"""Memory: the arena grows, keeps its limit, gives back; large results are recycled only when nobody has them."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tenfold.errors import EngineError, LimitError, OutOfMemory
from tenfold.runtime.cpu import arena as module
from tenfold.runtime.cpu.arena import PAGE, Arena, fresh_array, zeroed
from tenfold.runtime.cpu.code import Code

FLOAT = np.dtype(np.float32)
LARGE = (1 << 20,)


def test_an_arena_grows_and_keeps_its_address_else() -> None:
    arena = Arena()
    first = arena.reserve(10)
    assert first % PAGE == 0
    assert arena.reserve(PAGE) == first
    arena.view(0, 16)[:] = 7
    assert arena.view(8, 8).tolist() == [7] * 8
    arena.reserve(100 * PAGE)
    assert not arena.view(0, 16).any()
    with pytest.raises(LimitError):
        arena.view(100 * PAGE, 1)
    arena.close()
    assert (arena.address, arena.size) == (0, 0)
    arena.close()


def test_a_limit_is_kept() -> None:
    arena = Arena(limit=1000)
    assert arena.reserve(1000)
    with pytest.raises(LimitError, match="5000"):
        arena.reserve(5000)
    with pytest.raises(OutOfMemory):
        Arena().reserve(1 << 60)


@pytest.mark.parametrize(("size", "page"), [(0, PAGE), (1000, PAGE), (1 << 21, 1 << 21), ((5 << 20) + 1, 1 << 21)])
def test_zeroed_memory_is_aligned_and_stays_while_it_is_seen(size: int, page: int) -> None:
    memory = zeroed(size)
    assert memory.shape == (size,)
    assert memory.ctypes.data % page == 0
    assert not memory.any()
    memory[:] = 7
    seen = memory[size // 2 :]
    del memory
    assert (seen == 7).all()
    with pytest.raises(OutOfMemory):
        zeroed(1 << 60)


def test_large_results_are_recycled_when_nobody_has_them() -> None:
    first = fresh_array(LARGE, FLOAT)
    place = first.ctypes.data
    assert fresh_array(LARGE, FLOAT).ctypes.data != place
    view = first[10:20].reshape(2, 5)
    del first
    assert fresh_array(LARGE, FLOAT).ctypes.data != place
    del view
    again = fresh_array((1000, 1000), FLOAT)
    assert again.shape == (1000, 1000)
    assert again.flags.c_contiguous
    assert any(fresh.ctypes.data == place for fresh in (again, fresh_array(LARGE, FLOAT), fresh_array(LARGE, FLOAT)))


def test_few_unused_results_are_kept() -> None:
    many = [fresh_array((LARGE[0] + 1000 * index,), FLOAT) for index in range(12)]
    del many
    for factor in (10, 30):
        fresh_array((LARGE[0] * factor,), FLOAT)
    assert len(module._recycled._buffers) <= 7


def test_threads_never_share_a_result() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(60):
            mine = fresh_array(LARGE, FLOAT)
            mine[:64] = mine[-64:] = number * 1000 + turn
            other = fresh_array(LARGE, FLOAT)
            other[:64] = other[-64:] = -1
            if (mine[:64] != number * 1000 + turn).any() or (mine[-64:] != number * 1000 + turn).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_code_is_mapped_from_a_file_or_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "code"
    path.write_bytes(bytes(PAGE) + b"\xc3" * 100)
    with path.open("rb") as file:
        mapped = Code.from_file(file.fileno(), PAGE, 100)
        assert mapped.address % PAGE == 0
        assert any(str(path) in line and "r-xp" in line for line in Path("/proc/self/maps").read_text().splitlines())
        with pytest.raises(EngineError, match="page-aligned"):
            Code.from_file(file.fileno(), 100, 10)
        with pytest.raises(EngineError, match="page-aligned"):
            Code.from_file(file.fileno(), PAGE, 101)
        copied = _copied(file.fileno(), monkeypatch)
    assert copied.address != mapped.address
    assert copied.size == 100


def _copied(file: int, monkeypatch: pytest.MonkeyPatch) -> Code:
    """The same code where the system refuses to map files as code."""

    def refuse(*arguments: int) -> int:
        if arguments[3:]:
            raise PermissionError("no")
        return real(*arguments)

    from tenfold.runtime.cpu import code

    real = code.map_pages
    monkeypatch.setattr(code, "map_pages", refuse)
    return Code.from_file(file, PAGE, 100)


def test_an_arena_of_some_size_lies_in_huge_pages_within_its_limit() -> None:
    huge = 1 << 21
    arena = Arena()
    assert arena.reserve(huge + 1) % huge == 0
    assert arena.size == 2 * huge
    arena.view(2 * huge - 8, 8)[:] = 7
    arena.close()
    limited = Arena(limit=huge + 1)
    assert limited.reserve(huge + 1)
    assert limited.size == huge + PAGE
