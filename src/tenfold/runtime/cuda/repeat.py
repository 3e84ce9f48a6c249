"""A call like the one before: the same PyTorch tensors' memory, the same stream, one graph. Little is left to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from tenfold.runtime.cuda.arrays import ALIGNMENT, DeviceArray
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.launches import Launches

MOST = 8
"""Sets of results, each with a graph that writes there, that a call which repeats keeps."""


def _usable(tensor: Any, torch: Any) -> bool:
    """Whether a tensor is read in place."""
    return (
        type(tensor) is torch.Tensor and tensor.is_cuda and tensor.is_contiguous() and not tensor.data_ptr() % ALIGNMENT
    )


class _Set:
    """Results that are given out together, and the graph that writes them. What the caller gets shares the memory of a
    tensor that is kept; nobody else refers to that memory as long as its users are as many as at first.
    """

    def __init__(self, launches: Launches, results: Sequence[DeviceArray], torch: Any) -> None:
        self.launches, self._users = launches, torch._C._storage_Use_Count
        self._kept = [torch.from_dlpack(one.__dlpack__()) for one in results]
        self._memory = [one.untyped_storage() for one in self._kept]
        self._keys = [one._cdata for one in self._memory]
        self._alone = [self._users(key) for key in self._keys]

    def free(self) -> bool:
        """Whether the caller has let go of all."""
        return [*map(self._users, self._keys)] == self._alone

    def tensors(self) -> list[Any]:
        """The results, for the caller."""
        return [*map(_ALIKE, self._kept)]


class Repeat:
    """Made after a call whose inputs were all tensors on the GPU. `fresh` takes memory for results and gives it beside
    launches that write there. `number` is that of its stream: it holds for calls behind others on that stream.
    """

    def __init__(
        self,
        driver: Driver,
        tensors: Mapping[str, Any],
        stream: Any,
        home: Any,
        fresh: Callable[[], tuple[Launches, Sequence[DeviceArray]]],
    ) -> None:
        self._driver, self._stream, self._home, self._fresh = driver, stream, home, fresh
        self._torch: Any = sys.modules["torch"]
        self._tensor = self._torch.Tensor
        self._current = self._torch._C._cuda_getCurrentRawStream
        self._device = self._torch.cuda.current_device()
        self._names = tuple(tensors)
        self._look = (self._tensor.data_ptr, self._tensor.is_contiguous, *_LOOKS)
        self._kinds = [self._tensor] * len(tensors)
        self._seen = self._seen_of([*tensors.values()])
        self.number = int(stream)
        self._sets: list[_Set] = []

    @staticmethod
    def of_tensors(given: Sequence[Any]) -> bool:
        """Whether all these are PyTorch's tensors on the GPU, of a PyTorch that can count the users of memory."""
        torch = sys.modules.get("torch")
        counts = all(hasattr(torch, "_C") and hasattr(torch._C, one) for one in _NEEDED) if torch else False
        return counts and bool(given) and all(_usable(one, torch) for one in given)

    def run(self, inputs: Any) -> list[Any] | None:
        """The results, if the call is such a one; else None, and nothing was done."""
        given = [inputs.get(name) for name in self._names] if isinstance(inputs, Mapping) else inputs
        if len(given) != len(self._names):
            return None
        if [*map(type, given)] != self._kinds or self._seen_of(given) != self._seen:
            return None
        if self._current(self._device) != self.number:
            return None
        self._driver.enter()
        found = next((one for one in self._sets if one.free()), None) or self._added()
        if found is None:
            return None
        found.launches.run(self._stream, self._home)
        return found.tensors()

    def _seen_of(self, tensors: Sequence[Any]) -> list[list[Any]]:
        """Where tensors lie and how, which is the same for those that a call may be repeated on."""
        return [[*map(look, tensors)] for look in self._look]

    def _added(self) -> _Set | None:
        if len(self._sets) == MOST:
            return None
        self._sets.append(_Set(*self._fresh(), self._torch))
        return self._sets[-1]

    def close(self) -> None:
        """Give the graphs back; memory that is out goes back when it is let go."""
        for one in self._sets:
            one.launches.close()
        self._sets.clear()


_NEEDED = ("_storage_Use_Count", "_cuda_getCurrentRawStream")
_LOOKS = attrgetter("shape"), attrgetter("dtype")
_ALIKE = attrgetter("data")
"""What makes a tensor that shares another one's memory, at half of what `detach` takes."""
