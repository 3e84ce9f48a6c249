"""The team: how parts of a stage are shared between threads, as generated code.

A caller posts a stage in its Job by writing what to run and then, for each thread that is to help, a word in a lane of
its own: {epoch, unclaimed parts}. Every thread works off its own lane and then what is left in the others', so threads
meet only at the end, and what a thread wrote in one stage it reads in the next. Whoever sees unclaimed parts claims one
by compare-and-swap, and only then reads what to run: the caller cannot post again before every claimed part has been
counted in `finished`, so what it reads belongs to the part it has. A late worker thus delays nobody. Jobs and places
live in memory that is never freed; outside a claimed part a worker touches nothing else, so an engine may be closed
whenever none of its calls is running.

tests/runtime/cpu/test_protocol.py checks this over all interleavings of a small case.
"""

from __future__ import annotations

from tenfold.codegen.cpu.assembly import Code, module
from tenfold.codegen.cpu.isa import Isa
from tenfold.runtime.cpu.block import (
    JOB_SIZE,
    LANE_SIZE,
    LATER,
    MASK_BYTES,
    RESERVED,
    WORKER_SIZE,
    Call,
    Job,
    Lane,
    Team,
    Worker,
)

_WAIT, _WAKE = 128, 129
_ALL = 0x7FFFFFFF
_LOW = 0xFFFFFFFF

ENTRIES = {"worker": "worker", "ticks": "ticks"}


def control_word(code: Code, denormals: str) -> str:
    """The floating-point control register for a denormals mode: IEEE, or flush to zero."""
    keep, flush = code.machine.control
    return code.select(code.compare("eq", denormals, 0), keep, flush)


def _lane(code: Code, job: str, number: str) -> str:
    """The address of a lane."""
    return code.add(code.item(job, number, LANE_SIZE), JOB_SIZE)


def _least(code: Code, a: str, b: str) -> str:
    return code.select(code.compare("slt", a, b), a, b)


def _drain(isa: Isa) -> Code:
    """`drain(lane, place)`: claim and run all parts that a lane has left, in that place's scratch; how many."""
    code = Code(isa, "drain", 2, attributes="noinline ")
    lane, place = code.parameters
    job = code.get(lane, Lane, "job")
    word, done = code.place(lane, Lane, "word"), code.variable(0)
    with code.forever() as loop:
        seen = code.watch(word)
        left = code.both(seen, _LOW)
        with code.when(code.compare("eq", left, 0)):
            loop.leave()
        with code.when(code.replace(word, seen, code.sub(seen, 1))):
            with code.when(code.compare("eq", done.get(), 0)):
                code.set_control(control_word(code, code.get(job, Job, "denormals")))
            behind = code.add(code.get(lane, Lane, "number"), 1)
            more = _least(code, behind, code.get(job, Job, "extra"))
            part = code.sub(code.add(code.mul(behind, code.get(job, Job, "each")), more), left)
            scratch = code.add(code.get(job, Job, "scratch"), code.mul(code.get(job, Job, "stride"), place))
            status = code.stage(code.get(job, Job, "entry"), code.get(job, Job, "args"), part, scratch)
            with code.when(code.compare("ne", status, 0)):
                code.exchange("umax", code.place(job, Job, "status"), status)
            done.set(code.add(done.get(), 1))
    code.give(done.get())
    return code


def _help(isa: Isa) -> Code:
    """`help(lane, place, done)`: run what is left in the lanes after this one; count it, and the `done` before it."""
    code = Code(isa, "help", 3)
    lane, place, done = code.parameters
    job, total = code.get(lane, Lane, "job"), code.variable(done)
    lanes, number = code.get(job, Job, "lanes"), code.variable(code.get(lane, Lane, "number"))
    with code.counting(code.sub(lanes, 1)):
        following = code.add(number.get(), 1)
        number.set(code.select(code.compare("eq", following, lanes), 0, following))
        total.set(code.add(total.get(), code.call("drain", _lane(code, job, number.get()), place)))
    code.exchange("add", code.place(job, Job, "finished"), total.get())
    with code.when(code.compare("ne", code.watch(code.place(job, Job, "waiting")), 0)):
        code.system(code.get(job, Job, "system"), "futex", code.place(job, Job, "finished"), _WAKE, _ALL)
    code.give(0)
    return code


def _run(isa: Isa) -> Code:
    """`run(call, entry, parts)`: all parts of a stage; the greatest status."""
    code = Code(isa, "run", 3)
    call, entry, parts = code.parameters
    with code.when(code.compare("eq", parts, 1)):
        code.give(code.stage(entry, code.get(call, Call, "args"), 0, code.get(call, Call, "scratch")))
    alone = code.compare("sle", code.get(call, Call, "threads"), 1)
    with code.when(code.op(f"or i1 {alone}, {code.compare('sle', parts, 0)}")):
        code.give(code.call("alone", call, entry, parts))
    with code.when(code.compare("eq", code.get(call, Call, "taken"), 0)):
        code.call("take", call)
        with code.when(code.compare("eq", code.get(call, Call, "taken"), 0)):
            code.give(code.call("alone", call, entry, parts))
    code.give(code.call("share", call, entry, parts))
    return code


def _alone(isa: Isa) -> Code:
    """`alone(call, entry, parts)`: all parts of a stage in the caller; the greatest status."""
    code = Code(isa, "alone", 3)
    call, entry, parts = code.parameters
    args, scratch = code.get(call, Call, "args"), code.get(call, Call, "scratch")
    worst = code.variable(0)
    with code.counting(parts) as index:
        status = code.stage(entry, args, index, scratch)
        worst.set(code.select(code.compare("ugt", status, worst.get()), status, worst.get()))
    code.give(worst.get())
    return code


def _take(isa: Isa) -> Code:
    """`take(call)`: take the idle workers on other CPUs, as many as the call may use, those of this CPU's NUMA node
    before others; hold back the one on this CPU.
    """
    code = Code(isa, "take", 1, attributes="noinline ")
    (call,) = code.parameters
    team, job = code.get(call, Call, "team"), code.get(call, Call, "job")
    here, wanted = code.cpu(code.get(team, Team, "system")), code.sub(code.get(call, Call, "threads"), 1)
    taken, near = code.variable(0), code.variable(0)
    code.put(code.add(here, 1), call, Call, "home")
    with code.counting(code.get(team, Team, "size")) as index:
        worker = code.item(code.get(team, Team, "workers"), index, WORKER_SIZE)
        with code.when(code.compare("eq", code.get(worker, Worker, "cpu"), here)):
            code.exchange("xchg", code.place(worker, Worker, "inbox"), RESERVED)
            near.set(code.get(worker, Worker, "node"))
    turns = code.select(code.compare("sgt", code.get(team, Team, "nodes"), 1), 2, 1)
    with code.counting(turns) as turn, code.counting(code.get(team, Team, "size")) as index:
        worker = code.item(code.get(team, Team, "workers"), index, WORKER_SIZE)
        inbox = code.place(worker, Worker, "inbox")
        away = code.select(code.compare("ne", code.get(worker, Worker, "node"), near.get()), 1, 0)
        free = code.together(code.compare("eq", away, turn), code.compare("slt", taken.get(), wanted))
        with code.when(code.together(free, code.compare("eq", code.watch(inbox), 0))):
            lane = _lane(code, job, code.add(taken.get(), 1))
            code.put(worker, lane, Lane, "worker")
            with code.when(code.replace(inbox, 0, lane)):
                taken.set(code.add(taken.get(), 1))
    code.put(taken.get(), call, Call, "taken")
    code.put(code.ticks(), call, Call, "since")
    code.give(0)
    return code


def _hold(isa: Isa) -> Code:
    """`hold(call)`: keep the calling thread on its CPU, where no worker of its own runs, from now to the call's end."""
    code = Code(isa, "hold", 1, attributes="noinline ")
    (call,) = code.parameters
    code.put(LATER, call, Call, "since")
    before, cpu = code.get(call, Call, "masks"), code.sub(code.get(call, Call, "home"), 1)
    with code.when(code.compare("eq", before, 0)):
        code.give(0)
    system, only = code.get(code.get(call, Call, "team"), Team, "system"), code.add(before, MASK_BYTES)
    size = code.system(system, "sched_getaffinity", 0, MASK_BYTES, before)
    word = code.item(only, code.right(cpu, 6), 8)
    code.store(code.op(f"shl i64 1, {code.both(cpu, 63)}"), word)
    answer = code.system(system, "sched_setaffinity", 0, MASK_BYTES, only)
    code.store(0, word)
    done = code.together(code.compare("sgt", size, 0), code.compare("eq", answer, 0))
    code.put(code.select(done, size, 0), call, Call, "held")
    code.give(0)
    return code


def _release(isa: Isa) -> Code:
    """`release(call)`: give back every worker that `take` took or held back."""
    code = Code(isa, "release", 1)
    (call,) = code.parameters
    home = code.get(call, Call, "home")
    with code.when(code.compare("eq", home, 0)):
        code.give(0)
    team, job = code.get(call, Call, "team"), code.get(call, Call, "job")
    held = code.get(call, Call, "held")
    with code.when(code.compare("ne", held, 0)):
        code.system(code.get(team, Team, "system"), "sched_setaffinity", 0, held, code.get(call, Call, "masks"))
        code.put(0, call, Call, "held")
    with code.counting(code.get(call, Call, "taken")) as index:
        lane = _lane(code, job, code.add(index, 1))
        code.replace(code.place(code.get(lane, Lane, "worker"), Worker, "inbox"), lane, 0)
    here = code.sub(home, 1)
    with code.counting(code.get(team, Team, "size")) as index:
        worker = code.item(code.get(team, Team, "workers"), index, WORKER_SIZE)
        with code.when(code.compare("eq", code.get(worker, Worker, "cpu"), here)):
            code.replace(code.place(worker, Worker, "inbox"), RESERVED, 0)
    code.put(0, call, Call, "taken")
    code.put(0, call, Call, "home")
    code.give(0)
    return code


def _share(isa: Isa) -> Code:
    """`share(call, entry, parts)`: post a stage, work on it, wait for its last part; the greatest status.

    A call that lasts longer than workers spin after it is held on its CPU: that costs more than a short one takes.
    """
    code = Code(isa, "share", 3, attributes="noinline ")
    call, entry, parts = code.parameters
    lasting = code.sub(code.ticks(), code.get(call, Call, "since"))
    with code.when(code.compare("sgt", lasting, code.get(code.get(call, Call, "team"), Team, "spin_after"))):
        code.call("hold", call)
    job = code.get(call, Call, "job")
    lanes = _least(code, code.add(code.get(call, Call, "taken"), 1), parts)
    each = code.quotient(parts, lanes)
    extra = code.sub(parts, code.mul(each, lanes))
    for name in ("args", "scratch", "stride", "denormals"):
        code.put(code.get(call, Call, name), job, Job, name)
    epoch = code.add(code.get(job, Job, "epoch"), 1)
    about: dict[str, str | int] = {
        "entry": entry,
        "lanes": lanes,
        "each": each,
        "extra": extra,
        "epoch": epoch,
        "status": 0,
    }
    for name, value in about.items():
        code.put(value, job, Job, name)
    target = code.add(code.watch(code.place(job, Job, "finished")), parts)
    with code.counting(lanes) as number:
        mine = code.add(each, code.select(code.compare("slt", number, extra), 1, 0))
        word = code.op(f"or i64 {code.left(epoch, 32)}, {mine}")
        code.publish(word, code.place(_lane(code, job, number), Lane, "word"))
    code.fence()
    code.call("wake", call, lanes)
    mine = _lane(code, job, "0")
    code.call("help", mine, 0, code.call("drain", mine, 0))
    code.call("await", call, target)
    code.give(code.watch(code.place(job, Job, "status")))
    return code


def _wake(isa: Isa) -> Code:
    """`wake(call, lanes)`: ring the sleepers among the workers of these lanes."""
    code = Code(isa, "wake", 2)
    call, lanes = code.parameters
    job, system = code.get(call, Call, "job"), code.get(code.get(call, Call, "team"), Team, "system")
    with code.counting(code.sub(lanes, 1)) as index:
        bell = code.place(code.get(_lane(code, job, code.add(index, 1)), Lane, "worker"), Worker, "asleep")
        with code.when(code.compare("ne", code.watch(bell), 0)):
            code.exchange("xchg", bell, 0)
            code.system(system, "futex", bell, _WAKE, 1)
    code.give(0)
    return code


def _await(isa: Isa) -> Code:
    """`await(call, target)`: wait until that many parts are finished: busily for a while, then asleep."""
    code = Code(isa, "await", 2)
    call, target = code.parameters
    job = code.get(call, Call, "job")
    limit = code.get(code.get(call, Call, "team"), Team, "spin_after")
    finished, waiting = code.place(job, Job, "finished"), code.place(job, Job, "waiting")
    start = code.ticks()
    with code.forever() as loop:
        with code.when(code.compare("eq", code.watch(finished), target)):
            loop.leave()
        code.pause()
        with code.when(code.compare("ult", code.sub(code.ticks(), start), limit)):
            loop.repeat()
        code.exchange("xchg", waiting, 1)
        seen = code.watch(finished)
        with code.when(code.compare("ne", seen, target)):
            code.system(code.get(job, Job, "system"), "futex", finished, _WAIT, code.both(seen, _LOW), 0)
        code.exchange("xchg", waiting, 0)
    code.give(0)
    return code


def caller_functions(isa: Isa) -> list[Code]:
    """What the dispatcher calls: `run`, `release`, and what they need."""
    return [make(isa) for make in (_drain, _help, _wake, _await, _share, _alone, _hold, _take, _run, _release)]


def _worker(isa: Isa) -> Code:
    """`worker(place)`: a worker thread's life. It never returns."""
    code = Code(isa, "worker", 1, external=True)
    (place,) = code.parameters
    team = code.get(place, Worker, "team")
    inbox, bell = code.place(place, Worker, "inbox"), code.place(place, Worker, "asleep")
    lane_scratch = code.add(code.get(place, Worker, "index"), 1)
    mask = code.get(place, Worker, "mask")
    with code.when(code.compare("ne", mask, 0)):
        answer = code.system(code.get(team, Team, "system"), "sched_setaffinity", 0, MASK_BYTES, mask)
        code.put(answer, place, Worker, "affinity")
    code.exchange("xchg", code.place(place, Worker, "started"), 1)
    idle = code.variable(code.ticks())
    with code.forever() as life:
        lane = code.watch(inbox)
        with code.when(code.compare("ugt", lane, RESERVED)):
            left = code.both(code.watch(code.place(lane, Lane, "word")), _LOW)
            with code.when(code.compare("ne", left, 0)):
                done = code.call("drain", lane, lane_scratch)
                with code.when(code.compare("ne", done, 0)):
                    code.call("help", lane, lane_scratch, done)
                idle.set(code.ticks())
                life.repeat()
        code.pause()
        limit = code.select(
            code.compare("eq", lane, 0), code.get(team, Team, "spin_after"), code.get(team, Team, "spin_between")
        )
        limit = code.select(code.compare("eq", lane, RESERVED), 0, limit)
        with code.when(code.compare("ult", code.sub(code.ticks(), idle.get()), limit)):
            life.repeat()
        code.exchange("xchg", bell, 1)
        code.call("sleep", place, lane)
        code.exchange("xchg", bell, 0)
        idle.set(code.ticks())
    code.do("unreachable")
    return code


def _sleep(isa: Isa) -> Code:
    """`sleep(place, lane)`: sleep on the bell unless something has come in since it was set."""
    code = Code(isa, "sleep", 2)
    place, lane = code.parameters
    with code.when(code.compare("ne", code.watch(code.place(place, Worker, "inbox")), lane)):
        code.give(0)
    with code.when(code.compare("ugt", lane, RESERVED)):
        left = code.both(code.watch(code.place(lane, Lane, "word")), _LOW)
        with code.when(code.compare("ne", left, 0)):
            code.give(0)
    system = code.get(code.get(place, Worker, "team"), Team, "system")
    code.system(system, "futex", code.place(place, Worker, "asleep"), _WAIT, 1, 0)
    code.give(0)
    return code


def _ticks(isa: Isa) -> Code:
    code = Code(isa, "ticks", 0, external=True)
    code.give(code.ticks())
    return code


def crew(isa: Isa) -> str:
    """The module of the worker threads, linked alone: it outlives every engine."""
    return module(isa, _drain(isa), _help(isa), _sleep(isa), _worker(isa), _ticks(isa))
