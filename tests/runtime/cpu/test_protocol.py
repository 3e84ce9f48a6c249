"""The team's protocol, checked over all interleavings of a caller and two workers through three stages.

Each transition below is one access to shared memory, as team.py generates it: post (what to run, then a word in each
lane, bells), claim from a lane, read what to run, run, count; and a worker's way to sleep. A planted bug must be found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

PARTS = (2, 4, 2)
EARLY = "has no epoch, and reads what to run before it claims"
THREADS = 3


class Thread(NamedTuple):
    at: str = "look"
    lane: int = 0
    seen: tuple[int, int] = (0, 0)
    entry: int = -1
    done: int = 0
    bell: int = 0


class World(NamedTuple):
    threads: tuple[Thread, ...]  # the caller first
    stage: int = 0
    words: tuple[tuple[int, int], ...] = ((0, 0),) * THREADS  # of each lane: epoch, unclaimed parts
    entry: int = -1  # the stage whose parts and lanes the description names
    finished: int = 0
    ran: tuple[tuple[int, int], ...] = ()

    def move(self, index: int, at: str, **changes: int | tuple[int, int]) -> World:
        thread = self.threads[index]._replace(at=at, **changes)
        return self._replace(threads=(*self.threads[:index], thread, *self.threads[index + 1 :]))

    def idle(self, index: int) -> World:
        """The thread at its own lane again, with nothing in hand."""
        thread = Thread("wait" if index == 0 else "look", index, bell=self.threads[index].bell)
        return self._replace(threads=(*self.threads[:index], thread, *self.threads[index + 1 :]))


def lanes_of(stage: int) -> int:
    return min(THREADS, PARTS[stage])


def parts_of(stage: int, lane: int) -> range:
    """The parts that belong to a lane."""
    each, extra = divmod(PARTS[stage], lanes_of(stage))
    start = lane * each + min(lane, extra)
    return range(start, start + each + (lane < extra))


def changed(words: tuple[tuple[int, int], ...], lane: int, word: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return (*words[:lane], word, *words[lane + 1 :])


def claim(world: World, index: int, bug: str) -> Iterator[World]:
    """Look at a lane's word, claim by compare-and-swap, read what to run, run it; then the next lane; count it all."""
    thread = world.threads[index]
    lane, left = thread.lane, thread.seen[1]
    word = world.words[lane]
    match thread.at:
        case "look" if word[1]:
            early = {"entry": world.entry} if bug == EARLY else {}
            yield world.move(index, "swap", seen=word, **early)
        case "look" if thread.done or not index:
            following = (lane + 1) % lanes_of(world.entry)
            yield world.move(index, "count" if following == index else "look", lane=following)
        case "swap":
            same = word[1] == left if bug == EARLY else word == thread.seen
            same = same or bug == "claims by load and store"
            taken = world._replace(words=changed(world.words, lane, (word[0], left - 1))) if same else world
            yield taken.move(index, ("run" if bug == EARLY else "entry") if same else "look")
        case "entry":
            counted = world._replace(finished=world.finished + (bug == "counts before running"))
            yield counted.move(index, "run", entry=world.entry)
        case "run":
            part = parts_of(thread.entry, lane).stop - left
            ran = tuple(sorted((*world.ran, (thread.entry, part))))
            yield world._replace(ran=ran).move(index, "look", done=thread.done + 1)
        case "count":
            counted = 0 if bug == "counts before running" else thread.done
            yield world._replace(finished=world.finished + counted).idle(index)


def caller(world: World, bug: str) -> Iterator[World]:
    at = world.threads[0].at
    if at == "wait" and (bug == "does not wait" or world.finished == sum(PARTS[: world.stage + 1])):
        whole = tuple((world.stage, number) for number in range(PARTS[world.stage]))
        assert world.ran == whole, f"stage {world.stage} was passed before its parts had run"
        yield world._replace(stage=world.stage + 1, ran=()).move(0, "post entry")
    elif at == "post entry" and world.stage < len(PARTS):
        yield world._replace(entry=world.stage).move(0, "post 0")
    elif at.startswith("post "):
        if world.stage < len(PARTS):
            lane = int(at.split()[1])
            word = (world.stage + 1, len(parts_of(world.stage, lane)))
            after = f"post {lane + 1}" if lane + 1 < lanes_of(world.stage) else "ring 1"
            yield world._replace(words=changed(world.words, lane, word)).move(0, after)
    elif at.startswith("ring"):
        number = int(at.split()[1])
        after = f"ring {number + 1}" if number + 1 < lanes_of(world.stage) else "look"
        rung = world
        if world.threads[number].bell:
            woken = world.threads[number].at == "asleep"
            rung = world.move(number, "look" if woken else world.threads[number].at, bell=0)
        yield rung.move(0, after)
    elif at != "wait":
        yield from claim(world, 0, bug)


def worker(world: World, index: int, bug: str) -> Iterator[World]:
    thread = world.threads[index]
    unclaimed = world.words[index][1] > 0
    match thread.at:
        case "look" if thread.lane == index and not unclaimed and not thread.done:
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
    for number, thread in enumerate(world.threads):
        posted = world.threads[0].at in ("look", "wait") and world.words[number][1]
        assert not (posted and thread.at == "asleep"), "a worker sleeps through a posted stage"


def explore(bug: str = "") -> int:
    """Visit every reachable state; how many there are."""
    first = World((Thread("post entry"), *[Thread(lane=number) for number in range(1, THREADS)]))
    seen, todo, ends = {first}, [first], 0
    while todo:
        world = todo.pop()
        check(world)
        ends += world.stage == len(PARTS)
        following = list(caller(world, bug)) + [new for i in range(1, THREADS) for new in worker(world, i, bug)]
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
