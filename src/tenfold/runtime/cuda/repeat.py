"""A call like the one before: the same PyTorch tensors' memory, the same stream, one graph. Little is left to do."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.runtime.cuda.arrays import ALIGNMENT, DeviceArray, Recycled
from tenfold.runtime.cuda.driver import Driver
from tenfold.runtime.cuda.launches import Launches


def _usable(tensor: Any, torch: Any) -> bool:
    """Whether a tensor is read in place."""
    return (
        type(tensor) is torch.Tensor and tensor.is_cuda and tensor.is_contiguous() and not tensor.data_ptr() % ALIGNMENT
    )


class Repeat:
    """Made after a call whose inputs were all tensors on the GPU."""

    def __init__(
        self,
        driver: Driver,
        launches: Launches,
        recycled: Recycled,
        tensors: Mapping[str, Any],
        results: Sequence[DeviceArray],
        stream: Any,
    ) -> None:
        self._driver, self._launches, self._recycled, self._stream = driver, launches, recycled, stream
        self._torch: Any = sys.modules["torch"]
        self._names = tuple(tensors)
        self._seen = [self._look(tensor) for tensor in tensors.values()]
        self._handle = int(stream)
        self._results = [(one.spec, one.shape, one.address) for one in results]

    @staticmethod
    def of_tensors(given: Sequence[Any]) -> bool:
        """Whether all these are PyTorch's tensors on the GPU."""
        torch = sys.modules.get("torch")
        return torch is not None and bool(given) and all(_usable(one, torch) for one in given)

    def _look(self, tensor: Any) -> tuple[Any, ...]:
        return tensor.data_ptr(), tensor.shape, tensor.dtype, tensor.stride()

    def run(self, inputs: Any) -> list[Any] | None:
        """The results, if the call is such a one; else None, and nothing was done."""
        given = [inputs.get(name) for name in self._names] if isinstance(inputs, Mapping) else inputs
        if len(given) != len(self._seen):
            return None
        tensor = self._torch.Tensor
        for one, seen in zip(given, self._seen, strict=True):
            if type(one) is not tensor or self._look(one) != seen:
                return None
        if self._torch.cuda.current_stream().cuda_stream != self._handle:
            return None
        results = [self._recycled.take(spec, shape, self._stream) for spec, shape, _ in self._results]
        if any(one.address != seen[2] for one, seen in zip(results, self._results, strict=True)):
            return None
        self._driver.enter()
        self._launches.replay(self._stream)
        return [self._torch.from_dlpack(one) for one in results]
