"""Arrays of the caller that a context keeps: inputs that a call may leave out, outputs that it writes in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.errors import InputError
from tenfold.runtime.arrays import as_input, as_output, by_name, require_shape
from tenfold.runtime.calls import Calls
from tenfold.runtime.plan import Spec
from tenfold.runtime.written import Range, Written, range_of

if TYPE_CHECKING:
    from tenfold.runtime.engine import Engine


class Bindings(Calls):
    """What is bound to an engine's inputs and outputs, by name."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self._inputs = {spec.name: spec for spec in engine.inputs}
        self._outputs = {spec.name: spec for spec in engine.outputs}
        self._bound_inputs: dict[str, Any] = {}
        self._bound_outputs: dict[str, Any] = {}
        self._written = Written({})
        self._standing: Sequence[Any] = ()

    def bind(self, inputs: Mapping[str, Any] | None = None, outputs: Mapping[str, Any] | None = None) -> None:
        """Use these arrays in each call until unbound: inputs that a call leaves out, outputs written in place.

        Results are then views of the bound arrays, which may be larger. An engine for GPUs alone takes arrays that lie
        there, too; an output's is itself the result where the shape is the same, and keeps its memory until unbound.
        An input, bound or given, may lie where an output is bound: each call reads it as it was before, from a copy.
        Raises InputError for a name the model lacks, and for an array that cannot be used in place: of another dtype,
        not row-major, or, for an output, read-only or in the same memory as another output's.
        """
        self._require_open()
        inputs, outputs = by_name("inputs", inputs), by_name("outputs", outputs)
        found = {name: self._own_input(self._require(name, self._inputs, "input"), a) for name, a in inputs.items()}
        results = {
            name: self._own_output(self._require(name, self._outputs, "output"), a) for name, a in outputs.items()
        }
        for name, array in inputs.items():
            if isinstance(array, np.ndarray) and found[name] is not array:
                raise InputError(
                    f"input {name!r} is bound to an array that is not row-major",
                    argument=name,
                    remedy="bind numpy.ascontiguousarray of it",
                )
        with self._lock:
            Written({name: self._place(name, array) for name, array in (self._bound_outputs | results).items()})
            self._bound_inputs |= found
            self._bound_outputs |= results
            self._forget()

    def _own_input(self, spec: Spec, given: Any) -> Any:
        """What is kept of an array that is bound to an input."""
        array = as_input(spec, given)
        if not spec.dtype.is_object:
            require_shape(spec, array)
        return array

    def _own_output(self, spec: Spec, given: Any) -> Any:
        """What is kept of one that is bound to an output."""
        return as_output(spec, given)

    def _place(self, name: str, bound: Any) -> Range:
        """Where the memory of an array lies that is bound to an output."""
        return range_of(bound)

    @property
    def bound(self) -> frozenset[str]:
        """The names of the inputs that are bound."""
        return frozenset(self._bound_inputs)

    def unbind(self, *names: str) -> None:
        """Forget the bindings of these inputs and outputs, or all; InputError for a name the model lacks."""
        known = (*self._inputs, *self._outputs)
        given: tuple[Any, ...] = names
        for name in given:
            if not isinstance(name, str) or name not in known:
                said, argument = (repr(name), name) if isinstance(name, str) else (f"a {type(name).__name__}", "names")
                raise InputError(
                    f"the model has no input or output named by {said}",
                    argument=argument,
                    remedy=f"unbind any of {', '.join(known)}, or all: unbind()",
                )
        with self._lock:
            for bound in (self._bound_inputs, self._bound_outputs):
                for name in names or tuple(bound):
                    bound.pop(name, None)
            self._forget()

    def _forget(self) -> None:
        """Forget what earlier calls found out, as what is bound has changed."""
        hosts = {name: one for name, one in self._bound_outputs.items() if isinstance(one, np.ndarray)}
        self._written = Written({name: range_of(one) for name, one in hosts.items()})
        self._standing = [self._bound_inputs.get(name) for name in self._inputs]

    def _require(self, name: str, known: Mapping[str, Spec], role: str) -> Spec:
        if name not in known and any(spec.name == name for spec in self.engine.state):
            raise InputError(
                f"{name!r} is state, which the context keeps", argument=name, remedy="leave it out, or use seed"
            )
        if name not in known:
            remedy = self._takes() if role == "input" else f"it has {', '.join(known)}"
            if role == "input" and any(one.name == name for one in self.engine.defaults):
                remedy = f"it is a weight: engine.refit({{{name!r}: array}}), or build with shapes={{{name!r}: (…)}}"
            raise InputError(f"the model has no {role} {name!r}", argument=name, remedy=remedy)
        return known[name]

    def _takes(self) -> str:
        return "give " + "; ".join(map(str, self.engine.inputs))
