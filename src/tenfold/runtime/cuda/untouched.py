"""Whether PyTorch's tensors are as they were when they were made, and nobody else refers to them, so that the same ones
can be given out again: all their words in memory, compared at once, at a fifth of what making them anew takes. And
whether tensors that are given are those of an earlier call, at half of what asking them takes.

Words are read where CPython and PyTorch keep them, of objects that are alive. Little is taken for granted of their
order: whatever a use of a tensor changes, changes one of them. `watchable` tries that on small tensors of the CPU.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import platform
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORD = 8
_TENSOR, _STORAGE = 23, 8
"""Words of PyTorch's own objects that are looked at; they have at least as many."""
RANK = 5
"""Axes at most of a tensor that keeps its sizes among these words: those of others lie elsewhere."""
_AHEAD = (-4, -3)
"""Words ahead of an object, where CPython keeps its attributes and weak references, if it does."""
_USED = 2
"""The word of a dict that counts what is in it."""
_TYPE = 1
"""The word of a Python object that tells its type."""
_USERS = 1
"""The word of PyTorch's object of a tensor that counts its users."""
_log = logging.getLogger("tenfold")


class Untouched:
    """Tensors of at most RANK axes, and their storages in `memory`, as they are now, when whoever makes this is the
    only one to refer to them, by one list each. Those are kept by the caller as long as this is asked.
    """

    def __init__(self, tensors: Sequence[Any], memory: Sequence[Any]) -> None:
        self._attributes = [one.__dict__ for one in tensors]
        size, ahead = type(tensors[0]).__basicsize__ // _WORD, _AHEAD if type(tensors[0]).__dictoffset__ < 0 else ()
        near = (
            _words(map(id, tensors), (*ahead, *range(size))), _words(map(id, self._attributes), (_USED,)),
            _words(map(id, memory), (0,)), _words(map(_PLACE, memory), range(_STORAGE)),
        )  # fmt: skip
        self._take = _everything().take
        self._near, self._far = np.concatenate(near), _words(map(_PLACE, tensors), range(_TENSOR))
        self._said = self._take(self._near).tobytes()
        self._meant = self._take(self._far).tobytes()

    @property
    def words(self) -> tuple[tuple[NDArray[np.int64], bytes], tuple[NDArray[np.int64], bytes]]:
        """Which words, and what they were: first those that are read in any case, then those behind them."""
        return (self._near, self._said), (self._far, self._meant)

    def same(self) -> bool:
        """Whether all is as it was. What an object points to is read once it is known to point there still."""
        return self._take(self._near).tobytes() == self._said and self._take(self._far).tobytes() == self._meant


class Same:
    """Tensors of at most RANK axes as they are now: the same kinds, at the same addresses, whoever refers to them. And
    `results`, which are to be untouched. Nothing is kept: who asks `holds` has objects that lie where these did.
    """

    def __init__(self, tensors: Sequence[Any], results: Untouched | None) -> None:
        take = self._take = _everything().take
        memory = [one.untyped_storage() for one in tensors]
        places = [[*map(id, tensors)], [*map(_PLACE, tensors)], [*map(_PLACE, memory)]]
        size = type(tensors[0]).__basicsize__ // _WORD
        which = [
            [_TYPE, *_naming(places[0], size, places[1])], [one for one in range(_TENSOR) if one != _USERS],
            _naming(places[2], _STORAGE, [one.data_ptr() for one in memory]),
        ]  # fmt: skip
        found = [_words(*pair) for pair in zip(places, which, strict=True)]
        said = [take(words).tobytes() for words in found]
        for level, (words, bits) in enumerate(results.words if results else ()):
            found[level], said[level] = np.concatenate((found[level], words)), said[level] + bits
        (self._objects, self._tensors, self._memory), (self._said, self._meant, self._lay) = found, said

    def holds(self) -> bool:
        """Whether all is as it was, if there are objects where the tensors were."""
        take = self._take
        return (
            take(self._objects).tobytes() == self._said
            and take(self._tensors).tobytes() == self._meant
            and take(self._memory).tobytes() == self._lay
        )


def _naming(places: Sequence[int], size: int, numbers: Sequence[int]) -> list[int]:
    """Which of so many words hold, of each object, its number. LookupError if there are none."""
    words = _everything().take(_words(places, range(size))).reshape(len(places), size)
    found: list[int] = np.nonzero((words == np.array(numbers, np.uint64)[:, None]).all(axis=0))[0].tolist()
    if not found:
        raise LookupError("no word tells where PyTorch's objects lie")
    return found


def _words(places: Iterable[int], which: Iterable[int]) -> NDArray[np.int64]:
    """The numbers of these words of all objects that lie there."""
    found: NDArray[np.int64] = np.add.outer(np.array([*places]) // _WORD - 1, np.array([*which])).ravel()
    return found


@functools.cache
def _everything() -> NDArray[np.uint64]:
    """This process's memory but for its first word, as an array that is never read as a whole."""
    return np.frombuffer(memoryview((ctypes.c_uint64 * (1 << 45)).from_address(_WORD)), np.uint64)


@functools.cache
def watchable(torch: Any) -> bool:
    """Whether uses of tensors are seen by such words here."""
    if platform.python_implementation() != "CPython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    if ctypes.sizeof(ctypes.c_void_p) != _WORD or sys.byteorder != "little":
        return False
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.device("cpu"):
            unseen = [number for number, use in enumerate(_uses(torch)) if not _seen(use, torch)]
            unseen += [-1 - number for number, use in enumerate(_changes(torch)) if not _noticed(use, torch)]
    except (AttributeError, TypeError, RuntimeError, ValueError, LookupError) as error:
        unseen = [repr(error)]  # type: ignore[list-item]
    _log.debug("tensors of results are %s", f"made for each call: {unseen}" if unseen else "given out again")
    return not unseen


def _seen(use: Callable[[Any], Any], torch: Any) -> bool:
    """Whether a use is seen, and nothing else is."""
    kept = [torch.zeros(3, 4), torch.zeros(1, 2, 1, 1, 3)]
    given, memory = [one.data for one in kept], [one.untyped_storage() for one in kept]
    words = Untouched(given, memory)
    before = words.same()
    held = use(given[1])
    seen = not words.same()
    del held
    return before and seen


def _noticed(change: Callable[[Any], Any], torch: Any) -> bool:
    """Whether a change of a tensor that is given again is seen, and that it is referred to is not."""
    given = [torch.zeros(3, 4), torch.zeros(1, 2, 1, 1, 3)]
    words = Same(given, None)
    held = [*given, given[1][0], given[1].detach()]
    before = words.holds()
    change(given[1])
    return len(held) > 2 and before and not words.holds()


def _changes(torch: Any) -> list[Callable[[Any], Any]]:
    """What callers may do with a tensor that makes it another one."""
    other = torch.ones(1, 2, 1, 1, 3)

    def contents(tensor: Any) -> None:
        tensor.data = other

    def kind(tensor: Any) -> None:
        tensor.__class__ = torch.nn.Parameter

    return [
        lambda tensor: tensor.transpose_(1, 2),
        lambda tensor: tensor.resize_(1, 1, 2),
        lambda tensor: tensor.squeeze_(0),
        lambda tensor: tensor.set_(other),
        lambda tensor: tensor.as_strided_((1, 1, 1, 1, 3), (1, 1, 1, 1, 1), 3),
        lambda tensor: tensor.untyped_storage().resize_(0),
        contents, kind,
    ]  # fmt: skip


def _uses(torch: Any) -> list[Callable[[Any], Any]]:
    """What callers may do with a tensor; what is still so when it is let go, and what is given back, is to be seen."""
    weight, other = torch.ones(1, requires_grad=True), torch.ones(1, 2, 1, 1, 3)

    def attribute(tensor: Any) -> None:
        tensor.tag = 1

    def contents(tensor: Any) -> None:
        tensor.data = other

    def attributes(tensor: Any) -> None:
        tensor.__dict__ = {}

    def kind(tensor: Any) -> None:
        tensor.__class__ = torch.nn.Parameter

    def gradient(tensor: Any) -> None:
        tensor.grad = other

    return [
        lambda tensor: tensor,
        lambda tensor: tensor[0],
        lambda tensor: tensor.detach(),
        lambda tensor: tensor.untyped_storage(),
        lambda tensor: tensor.__dlpack__(),
        lambda tensor: weight * tensor,
        weakref.ref,
        lambda tensor: [None for _ in [tensor.requires_grad_()]],
        lambda tensor: [None for _ in [tensor.t_() if tensor.ndim < 3 else tensor.transpose_(1, 2)]],
        lambda tensor: [None for _ in [tensor.resize_(1, 1, 2)]],
        lambda tensor: [None for _ in [tensor.squeeze_(0)]],
        lambda tensor: [None for _ in [tensor.set_(other)]],
        attribute, attributes, contents, gradient, kind,
    ]  # fmt: skip


_PLACE = attrgetter("_cdata")
"""Where PyTorch's object of a tensor or a storage lies."""
