"""Calls like those before: PyTorch tensors of the same kinds, the same stream, one graph. Little is left to do."""

from __future__ import annotations

import functools
import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, or_
from types import MappingProxyType
from typing import Any

from tenfold.runtime.cuda.aimed import Aimed
from tenfold.runtime.cuda.arrays import ALIGNMENT, DeviceArray
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.untouched import RANK, Same, Untouched, watchable

MOST = 8
"""Sets of results, each with a graph that writes there, that a call which repeats keeps."""
CHANCES = 4
"""How often tensors of a set are made to be given out again, and how often those that were given are remembered without
avail: not for ever for a caller who changes them each time.
"""
KINDS = 4
"""Kinds of calls that a context repeats without looking at them again, and places of inputs that each remembers."""

Fresh = Callable[[Sequence[int], Sequence[int]], tuple[Aimed, Sequence[DeviceArray]]]
Alike = Callable[..., bool]
Bound = Mapping[int, tuple[Any, Any]]
_NOTHING: Bound = MappingProxyType({})
_log = logging.getLogger("tenfold")


class _Set:
    """Results that are given out together, and the graph that writes them. What the caller gets shares the memory of a
    tensor that is kept; nobody else refers to that memory as long as its users are as many as at first. Once let go,
    and as they were, the same tensors are given out again; and if the call's are those of an earlier one, too, that is
    all there is to look at.
    """

    def __init__(self, launches: Aimed, results: Sequence[DeviceArray], torch: Any) -> None:
        self.launches, self._users = launches, torch._C._storage_Use_Count
        with torch.inference_mode(False):
            self._kept = [torch.from_dlpack(one.__dlpack__()) for one in results]
        self._memory = [one.untyped_storage() for one in self._kept]
        self._keys = [one._cdata for one in self._memory]
        self._alone = self._in_use()
        few = all(len(one.shape) <= RANK for one in results)
        self._chances = CHANCES if results and few and watchable(torch) else 0
        self._given: list[Any] = []
        self._untouched: Untouched | None = None
        self._tries, self._watchable = CHANCES, few and watchable(torch)
        self._who: list[int] | None = None
        self._same: Same | None = None
        self._replay: Callable[[], None] | None = None

    def _in_use(self) -> list[list[int]]:
        """How many use the memory, and the objects that stand for it."""
        return [[*map(self._users, self._keys)], [*map(sys.getrefcount, self._memory)]]

    def free(self) -> bool:
        """Whether the caller has let go of all."""
        if self._untouched is not None:
            if self._untouched.same():
                return True
            if self._held():
                return False
            self._untouched, self._given, self._who = None, [], None
        return self._in_use() == self._alone

    def _held(self) -> bool:
        """Whether somebody else refers to the tensors that were given out, or has more that share their memory."""
        if max(map(sys.getrefcount, self._given)) > _UNHELD:
            return True
        pairs = zip(self._in_use(), self._alone, (1, 0), strict=True)
        return any(now > before + own for one, alone, own in pairs for now, before in zip(one, alone, strict=True))

    def remember(self, given: Sequence[Any], written: Sequence[Any], stream: Any) -> bool:
        """Whether `again` now knows the call on these tensors, which has just been run, and on those that it writes."""
        if not self._tries or not self._watchable or (self._untouched is None and self._kept):
            return False
        self._tries -= 1
        self._replay, self._who = self.launches.replayer(stream), None
        if self._replay is not None and all(len(one.shape) <= RANK for one in (*given, *written)):
            self._same, self._who = Same([*given, *written], self._untouched), [*map(id, given)]
        return self._who is not None

    def again(self, who: list[int]) -> list[Any] | None:
        """The results for the very objects of the call that is remembered; None, and nothing was done, if anything is
        not as it was.
        """
        if self._who != who or not self._same.holds():  # type: ignore[union-attr]
            return None
        self._tries = CHANCES
        self._replay()  # type: ignore[misc]
        return [*self._given]

    def tensors(self) -> list[Any]:
        """The results, for the caller."""
        if self._untouched is not None:
            return [*self._given]
        given = [*map(_ALIKE, self._kept)]
        if self._chances:
            self._chances -= 1
            self._untouched, self._given = Untouched(given, self._memory), given
            return [*given]
        return given


class Repeat:
    """Made after a call whose inputs were all tensors on the GPU. `fresh` takes memory for results and gives it beside
    launches that write there, for inputs that lie at such places and have such sizes. `bound` are the results that lie
    in the caller's tensors, by their number: those tensors, and what is given out. `number` is that of its stream: it
    holds for calls behind others on that stream.
    """

    def __init__(
        self, driver: Driver, tensors: Sequence[Any], stream: Any, home: Any, fresh: Fresh, bound: Bound = _NOTHING
    ) -> None:
        self._driver, self._stream, self._home, self._fresh = driver, stream, home, fresh
        self._torch: Any = sys.modules["torch"]
        self._current = self._torch._C._cuda_getCurrentRawStream
        self._device = self._torch.cuda.current_device()
        self._place = self._torch.Tensor.data_ptr
        self._seen = deque([[*map(self._place, tensors)]], KINDS)
        self._count, self._alike = len(tensors), _looks(tensors, self._torch)
        self._bound = {number: result for number, (_, result) in sorted(bound.items())}
        self._written = [tensor for tensor, _ in bound.values()]
        self._written_places = [*map(self._place, self._written)]
        self.number = int(stream)
        self._sets: list[_Set] = []
        self.remembering: list[_Set] = []
        """Those that may know a call by the very tensors that it is given."""

    def fits(self, given: Sequence[Any]) -> bool:
        """Whether a call on these tensors is such a one, wherever they lie."""
        if len(given) != self._count or not self._alike(*given) or self._current(self._device) != self.number:
            return False
        return not self._bound or [*map(self._place, self._written)] == self._written_places

    def again(self, given: Sequence[Any]) -> list[Any] | None:
        """As `run`, of a call on the very tensors of an earlier one: half the way."""
        if self._current(self._device) != self.number:
            return None
        given = [*given]  # held while it is looked at, whatever another thread does to the caller's list
        who = [*map(id, given)]
        for found in self.remembering:
            own = found.again(who)
            if own is not None:
                if found is not self._sets[-1]:
                    _last(found, self._sets)
                    _last(found, self.remembering)
                return self._with_bound(own) if self._bound else own
        return None

    def run(self, given: Sequence[Any], places: list[int]) -> list[Any] | None:
        """The results of a call on tensors that lie at these places; None, and nothing was done, if they differ in
        anything else, or if all memory for results is held.
        """
        if not self.fits(given):
            return None
        self._driver.enter()
        known = True
        for found in self._sets:
            if found.launches.places == places and found.free():
                break
        else:
            known, other = False, self._other(given, places)
            if other is None:
                return None
            found = other
        if found is not self._sets[-1]:
            _last(found, self._sets)
        found.launches.run(self._stream, self._home)
        own = found.tensors()
        if known and found.remember(given, self._written, self._stream):
            self.remembering = [*(one for one in self.remembering if one is not found), found]
        return self._with_bound(own) if self._bound else own

    def _other(self, given: Sequence[Any], places: list[int]) -> _Set | None:
        """Results that nobody holds, whose graph now reads at these places: those whose last use is the longest ago,
        but new ones if such a call came lately. None if an address is not aligned, or too many are held.
        """
        if functools.reduce(or_, places) % ALIGNMENT:
            return None
        again, full = places in self._seen, len(self._sets) == MOST
        if not again:
            self._seen.append(places)
        if full or not again:
            found = next((one for one in self._sets if one.free()), None)
            if found is not None:
                if found in self.remembering:
                    self.remembering.remove(found)
                found.launches.aim(places, self._stream)
                return found
        return None if full else self._added(given, places)

    def _added(self, given: Sequence[Any], places: list[int]) -> _Set:
        if not self._sets:
            self._alike = _alike(given, self._torch)
        launches, results = self._fresh(places, [one.nbytes for one in given])
        own = [one for number, one in enumerate(results) if number not in self._bound]
        self._sets.append(_Set(launches, own, self._torch))
        return self._sets[-1]

    def _with_bound(self, own: list[Any]) -> list[Any]:
        if not own:
            return [*self._bound.values()]
        for number, tensor in self._bound.items():
            own.insert(number, tensor)
        return own

    @property
    def has_run(self) -> bool:
        """Whether there are graphs."""
        return bool(self._sets)

    def close(self) -> None:
        """Give the graphs back; memory that is out goes back when it is let go."""
        for one in self._sets:
            one.launches.close(self._stream)
        self._sets.clear()
        self.remembering.clear()


class Repeats:
    """The kinds of calls that a context repeats, the latest first. `wait` returns when all of them have ended."""

    def __init__(self, driver: Driver, wait: Callable[[], None]) -> None:
        self._driver, self._wait = driver, wait
        self._all: list[Repeat] = []
        self._place: Callable[[Any], int] = id

    def run(self, given: Sequence[Any], order: int) -> list[Any] | None:
        """The results, if the call is like one before it, behind calls on the same stream; else None, and nothing was
        done.
        """
        if not self._all:
            return None
        for one in self._all:
            if one.remembering and one.number == order and (found := one.again(given)) is not None:
                return self._first(one, found)
        try:
            places = [*map(self._place, given)]
        except (TypeError, RuntimeError):
            return None
        for one in self._all:
            if one.number == order and (found := one.run(given, places)) is not None:
                return self._first(one, found)
        return None

    def _first(self, one: Repeat, found: list[Any]) -> list[Any]:
        """What was found, whose kind is the latest now."""
        if one is not self._all[0]:
            self._all.remove(one)
            self._all.insert(0, one)
        return found

    def add(self, given: Sequence[Any], bound: Bound, made: Callable[[], Repeat]) -> None:
        """Repeat calls like the one on these inputs and bound outputs, if all are PyTorch's tensors on the GPU and it
        can be told whose memory is in use.
        """
        torch = sys.modules.get("torch")
        if not given or not all(hasattr(getattr(torch, "_C", None), one) for one in _NEEDED):
            return
        if all(_usable(one, torch) for one in (*given, *(tensor for tensor, _ in bound.values()))):
            if any(one.fits(given) for one in self._all):
                return
            if len(self._all) == KINDS:
                self._drop(self._all[-1:])
            self._place = torch.Tensor.data_ptr  # type: ignore[union-attr]
            self._all.insert(0, made())

    def clear(self) -> None:
        """Forget them."""
        self._drop(self._all)

    def _drop(self, some: Sequence[Repeat]) -> None:
        """Forget some; those that have run may be under way."""
        if any(one.has_run for one in some):
            self._driver.enter()
            self._wait()
        for one in some:
            one.close()
        self._all = [one for one in self._all if one not in some]


def _last(one: _Set, sets: list[_Set]) -> None:
    """Put one at the end."""
    sets.remove(one)
    sets.append(one)


def _usable(tensor: Any, torch: Any) -> bool:
    """Whether a tensor is read in place."""
    return (
        type(tensor) is torch.Tensor and tensor.is_cuda and tensor.is_contiguous() and not tensor.data_ptr() % ALIGNMENT
    )


def _alike(tensors: Sequence[Any], torch: Any) -> Alike:
    """Whether as many arrays are tensors of the same kinds as these, wherever they lie: what tells it."""
    guards = _guards(torch)
    if guards is not None:
        check: Alike = guards(tensors)
        if check(*tensors):
            return check
    return _looks(tensors, torch)


def _looks(tensors: Sequence[Any], torch: Any) -> Alike:
    """As `_alike`, in Python: for a PyTorch that cannot tell, or where a tensor is given twice."""

    looks = type, torch.Tensor.is_contiguous, attrgetter("shape"), attrgetter("dtype"), attrgetter("device")
    known = [(look, [*map(look, tensors)]) for look in looks]
    return lambda *given: all([*map(look, given)] == wanted for look, wanted in known)


@functools.cache
def _guards(torch: Any) -> Callable[[Sequence[Any]], Alike] | None:
    """What makes such a check as one call of PyTorch, which has it for what its compiler makes: of type, shape,
    strides, element type, device and autograd's mode. None where it does not see what it has to.
    """

    def guarded(tensors: Sequence[Any]) -> Alike:
        made = torch._C._dynamo.guards.TensorGuards(
            *tensors,
            dynamic_dims_sizes=[[*one.shape] for one in tensors],
            dynamic_dims_strides=[[*one.stride()] for one in tensors],
        )
        check: Alike = made.check
        return check

    with torch.inference_mode(False), torch.device("cpu"):
        x, y = torch.zeros(2, 2), torch.zeros(1)
        others = (None, x.numpy(), x.t(), x[:1], x.double(), x.int(), x.view(4), torch.nn.Parameter(x), x.to("meta"))
        try:
            check = guarded([x, y])
            right = check(x.clone(), y.clone()) and not any(check(one, y) or check(x, one) for one in others)
        except (AttributeError, TypeError):
            right = False
    way = "PyTorch's guards" if right else "Python, one by one: this PyTorch has no guards that see what they have to"
    _log.debug("tensors of calls that repeat are compared by %s", way)
    return guarded if right else None


_NEEDED = ("_storage_Use_Count", "_cuda_getCurrentRawStream")
_UNHELD = max(map(sys.getrefcount, [object()]))
"""What is counted of an object that a list alone refers to."""
_ALIKE = attrgetter("data")
"""What makes a tensor that shares another one's memory, at half of what `detach` takes."""
