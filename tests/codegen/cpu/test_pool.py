"""Compile workers and the object cache."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from tenfold.codegen.cpu.isa import ROWS, isa_of
from tenfold.codegen.cpu.pool import CompilePool, Failure, ObjectCache, Request
from tenfold.target import Target

GOOD = "define i32 @stage(ptr %a, i64 %part, ptr %s) nounwind {{\n  ret i32 {}\n}}"
FATAL = """
define i32 @stage() {
  %a = call <4 x i32> asm "bogus $0", "=r"()
  ret i32 0
}
"""
ISA = isa_of(Target.parse("cpu:x86-64-v3")[0])


def test_answers_come_in_order_and_are_deterministic() -> None:
    requests = [Request(GOOD.format(number), isa) for number in range(3) for isa in ROWS]
    with CompilePool(2) as pool, CompilePool(1) as other:
        made = pool.compile(requests)
        assert all(isinstance(data, bytes) for data in made)
        assert other.compile(requests[::-1]) == made[::-1]


def test_what_was_begun_is_taken_or_left() -> None:
    begun, others = ([Request(GOOD.format(number), ISA) for number in numbers] for numbers in ((1, 2, 3), (3, 4)))
    told: list[tuple[int, int]] = []
    with CompilePool(2) as pool, CompilePool(1) as alone:
        pool.begin([*begun, Request("nonsense", ISA)])
        assert pool.compile(others, lambda *word: told.append(word)) == alone.compile(others)
        assert told == [(1, 2), (2, 2)]
        assert isinstance(pool.compile([Request("nonsense", ISA)])[0], Failure)


def test_a_refusal_and_a_dead_worker_are_values_and_the_pool_goes_on() -> None:
    with CompilePool(1) as pool:
        wrong, fatal, good = pool.compile([Request("nonsense", ISA), Request(FATAL, ISA), Request(GOOD.format(0), ISA)])
        assert isinstance(wrong, Failure)
        assert "expected top-level entity" in wrong.reason
        assert isinstance(fatal, Failure)
        assert "ended with status" in fatal.reason
        assert "output register" in fatal.reason
        assert isinstance(good, bytes)


def test_optimising_is_asked_for() -> None:
    source = """
define i32 @stage(i32 %x) nounwind {
  %a = alloca i32
  store i32 %x, ptr %a
  %y = load i32, ptr %a
  ret i32 %y
}
"""
    with CompilePool(1) as pool:
        plain, optimised = pool.compile([Request(source, ISA), Request(source, ISA, optimise=True)])
    assert isinstance(plain, bytes)
    assert isinstance(optimised, bytes)
    assert plain != optimised


def test_objects_are_remembered_on_disk(tmp_path: Path) -> None:
    request = Request(GOOD.format(1), ISA)
    with CompilePool(1, ObjectCache(tmp_path / "cache")) as pool:
        made = pool.compile([request, request])
    assert made[0] == made[1]
    (file,) = (tmp_path / "cache" / "objects").iterdir()
    assert (file.parent.stat().st_mode & 0o777) == 0o700
    assert ObjectCache(tmp_path / "cache").get(request.key) == made[0]
    file.write_bytes(file.read_bytes()[:-1])
    assert ObjectCache(tmp_path / "cache").get(request.key) is None


def test_keys_tell_requests_apart() -> None:
    requests = [Request(GOOD.format(n), isa, optimise) for n in (0, 1) for isa in ROWS for optimise in (False, True)]
    assert len({request.key for request in requests}) == len(requests)


def test_an_unwritable_folder_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING, "tenfold"):
        cache = ObjectCache(tmp_path / "file")
        cache.put("key", b"data")
        cache.put("other", b"data")
    assert len(caplog.records) == 1
    assert cache.get("key") == b"data"


def test_an_interrupt_leaves_no_worker_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = CompilePool(1)
    pool.start()
    (worker,) = pool._idle
    monkeypatch.setattr(worker, "receive", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pool.compile([Request(GOOD.format(5), ISA)])
    assert worker._process.returncode is not None
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker._process.pid, 0)
