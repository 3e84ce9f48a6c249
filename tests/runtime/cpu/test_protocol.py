"""The team's protocol, checked over all interleavings of a caller and two workers through three stages.

Each transition below is one access to shared memory, as team.py generates it: post (entry, parts, word, bells), claim,
read what to run, run, count; and a worker's way to sleep. A planted bug must be found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

PARTS = (2, 3, 2)
EARLY = "has no epoch, and reads what to run before it claims"
WORKERS = 2


class Thread(NamedTuple):
    at: str = "look"
    seen: tuple[int, int] = (0, 0)
    entry: int = -1
    parts: int = 0
    bell: int = 0


class World(NamedTuple):
    threads: tuple[Thread, ...]  # the caller first
    stage: int = 0
    word: tuple[int, int] = (0, 0)  # epoch, unclaimed parts
    entry: int = -1
    parts: int = 0
    finished: int = 0
    ran: tuple[tuple[int, int], ...] = ()

    def move(self, index: int, at: str, **changes: int | tuple[int, int]) -> World:
        before = Thread(bell=self.threads[index].bell) if at == "look" else self.threads[index]
        thread = before._replace(at=at, **changes)
        return self._replace(threads=(*self.threads[:index], thread, *self.threads[index + 1 :]))


def claim(world: World, index: int, bug: str) -> Iterator[World]:
    """Look at the word, claim by compare-and-swap, read what to run, run it, count it."""
    thread = world.threads[index]
    left = thread.seen[1]
    match thread.at:
        case "look":
            early = {"entry": world.entry, "parts": world.parts} if bug == EARLY else {}
            if world.word[1]:
                yield world.move(index, "swap", seen=world.word, **early)
        case "swap":
            same = world.word[1] == left if bug == EARLY else world.word == thread.seen
            same = same or bug == "claims by load and store"
            taken = world._replace(word=(world.word[0], left - 1)) if same else world
            yield taken.move(index, ("run" if bug == EARLY else "entry") if same else "look")
        case "entry":
            yield world.move(index, "parts", entry=world.entry)
        case "parts":
            yield world.move(index, "count" if bug == "counts before running" else "run", parts=world.parts)
        case "run":
            ran = (*world.ran, (thread.entry, thread.parts - left))
            after = "look" if bug == "counts before running" else "count"
            yield world._replace(ran=tuple(sorted(ran))).move(index, after)
        case "count":
            after = "run" if bug == "counts before running" else "look"
            yield world._replace(finished=world.finished + 1).move(index, after)


def caller(world: World, bug: str) -> Iterator[World]:
    at = world.threads[0].at
    if at == "post entry" and world.stage < len(PARTS):
        yield world._replace(entry=world.stage).move(0, "post parts")
    elif at == "post parts":
        yield world._replace(parts=PARTS[world.stage]).move(0, "post word")
    elif at == "post word":
        yield world._replace(word=(world.word[0] + 1, PARTS[world.stage])).move(0, "ring 1")
    elif at.startswith("ring"):
        number = int(at.split()[1])
        after = "look" if number == WORKERS else f"ring {number + 1}"
        rung = world
        if world.threads[number].bell:
            woken = world.threads[number].at == "asleep"
            rung = world.move(number, "look" if woken else world.threads[number].at, bell=0)
        yield rung.move(0, after)
    elif at == "look" and not world.word[1]:
        if bug == "does not wait" or world.finished == sum(PARTS[: world.stage + 1]):
            whole = tuple((world.stage, number) for number in range(PARTS[world.stage]))
            assert world.ran == whole, f"stage {world.stage} was passed before its parts had run"
            yield world._replace(stage=world.stage + 1, ran=()).move(0, "post entry")
    else:
        yield from claim(world, 0, bug)


def worker(world: World, index: int, bug: str) -> Iterator[World]:
    thread = world.threads[index]
    unclaimed = world.word[1] > 0
    match thread.at:
        case "look" if not unclaimed:
            yield world.move(index, "ask" if bug == "asks before setting its bell" else "bell")
        case "bell":
            yield world.move(index, "sleep" if bug == "asks before setting its bell" else "ask", bell=1)
        case "ask":
            after = "bell" if bug == "asks before setting its bell" else "sleep"
            yield world.move(index, "look", bell=0) if unclaimed else world.move(index, after)
        case "sleep":
            yield world.move(index, "asleep" if thread.bell else "look")
        case "asleep":
            return
        case _:
            yield from claim(world, index, bug)


def check(world: World) -> None:
    assert len(set(world.ran)) == len(world.ran), f"a part ran twice: {world.ran}"
    for stage, part in world.ran:
        assert stage == world.stage and 0 <= part < PARTS[stage], f"a part ran that was not posted: {stage, part}"
    if world.threads[0].at == "look" and world.word[1]:
        assert all(thread.at != "asleep" for thread in world.threads), "a worker sleeps through a posted stage"


def explore(bug: str = "") -> int:
    """Visit every reachable state; how many there are."""
    first = World((Thread("post entry"), *[Thread()] * WORKERS))
    seen, todo, ends = {first}, [first], 0
    while todo:
        world = todo.pop()
        check(world)
        ends += world.stage == len(PARTS)
        following = list(caller(world, bug)) + [new for i in range(WORKERS) for new in worker(world, i + 1, bug)]
        assert following or world.stage == len(PARTS), f"everyone waits: {world}"
        fresh = [new for new in following if new not in seen]
        seen.update(fresh)
        todo += fresh
    assert ends
    return len(seen)


def test_every_interleaving_runs_each_part_once_and_in_its_stage() -> None:
    assert explore() > 10_000


@pytest.mark.parametrize(
    "bug",
    [
        EARLY,
        "claims by load and store",
        "counts before running",
        "does not wait",
        "asks before setting its bell",
    ],
)
def test_a_planted_bug_is_found(bug: str) -> None:
    with pytest.raises(AssertionError):
        explore(bug)
