"""Recurrent cells run over a sequence: x [T, N, I] to y [T, N, H] and the last states [N, H]."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import Type
from tenfold.ops import activation
from tenfold.ops.arithmetic import Tanh
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.matmul import moved
from tenfold.ops.precision import require_float, widen
from tenfold.ops.window import differ

FUNCTIONS: dict[str, type[Elementwise]] = {
    "Tanh": Tanh,
    "Relu": activation.Relu,
    "Sigmoid": activation.Sigmoid,
    "Affine": activation.Affine,
    "LeakyRelu": activation.LeakyRelu,
    "ThresholdedRelu": activation.ThresholdedRelu,
    "ScaledTanh": activation.ScaledTanh,
    "HardSigmoid": activation.HardSigmoid,
    "Elu": activation.Elu,
    "Softsign": activation.Softsign,
    "Softplus": activation.Softplus,
}


class Recurrent(Op):
    """What the cells share. Inputs: x [T, N, I], w [G H, I], r [G H, H], the biases [G H], the states before the
    first step [N, H], and what the cell adds; with `lengths`, last of all, the i32 length [N] of each sequence.

    `reverse`: from the last step to the first; y stays in the order of x. Past the end of its sequence a row of
    y is 0 and its states stay. `activations` names `FUNCTIONS`, `parameters` holds the arguments of each.
    `clip` > 0 bounds what enters an activation to -clip … clip. All is computed in f32 at least.
    """

    hidden: int
    reverse: bool = False
    activations: tuple[str, ...] = ()
    parameters: tuple[tuple[float, ...], ...] = ()
    clip: float = 0.0
    lengths: bool = False

    gates: ClassVar[int] = 1
    biases: ClassVar[int] = 1
    states: ClassVar[int] = 1

    def functions(self) -> tuple[Elementwise, ...]:
        """The activations, in order."""
        arguments = self.parameters or ((),) * len(self.activations)
        return tuple(FUNCTIONS[name](*given) for name, given in zip(self.activations, arguments, strict=True))

    def extra(self) -> tuple[tuple[Size, ...], ...]:
        """The shapes of the inputs that this cell adds."""
        return ()

    def step(self, x: Array, state: tuple[Array, ...], weights: tuple[Array, ...]) -> tuple[Array, ...]:
        """The states after one step from x [N, I]; `weights` are w, r, the biases and the cell's own inputs."""
        raise NotImplementedError(f"{self.name}.step")

    def infer(self, *inputs: Type) -> Type | tuple[Type, ...]:
        """y and each last state; ValueError names the input that does not fit."""
        x, rows = inputs[0], self.gates * self.hidden
        if x.rank != 3:
            raise ValueError(f"{self.name} takes x [T, N, I], not {x}")
        wanted: list[tuple[Size, ...]] = [x.shape, (rows, x.shape[2]), (rows, self.hidden)]
        wanted += [(rows,)] * self.biases + [(x.shape[1], self.hidden)] * self.states
        wanted += [*self.extra(), *([(x.shape[1],)] if self.lengths else [])]
        if len(inputs) != len(wanted):
            raise ValueError(f"{self.name} takes {len(wanted)} inputs, not {len(inputs)}")
        for number, (one, shape) in enumerate(zip(inputs, wanted, strict=True)):
            if one.rank != len(shape) or any(differ(a, b) for a, b in zip(one.shape, shape, strict=True)):
                raise ValueError(f"{self.name} takes input {number} of shape {shape}, not {one}")
        dtype = require_float(self.name, *(inputs[:-1] if self.lengths else inputs))
        last = Type(dtype, (x.shape[1], self.hidden))
        return (Type(dtype, (*x.shape[:2], self.hidden)), *(last,) * self.states)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """One step after another."""
        result = inputs[0].dtype
        lengths = inputs[-1].astype(np.int64) if self.lengths else np.full(inputs[0].shape[1], inputs[0].shape[0])
        x, *rest = (widen(one) for one in (inputs[:-1] if self.lengths else inputs))
        first = 2 + self.biases
        state = tuple(rest[first : first + self.states])
        weights = (*rest[:first], *rest[first + self.states :])
        y = np.zeros((*x.shape[:2], self.hidden), x.dtype)
        steps = range(len(x) - 1, -1, -1) if self.reverse else range(len(x))
        for t in steps:
            running = (t < lengths)[:, None]
            with np.errstate(over="ignore"):
                following = self.step(x[t], state, weights)
            state = tuple(np.where(running, new, old) for new, old in zip(following, state, strict=True))
            y[t] = np.where(running, state[0], 0)
        return tuple(one.astype(result) for one in (y, *state))

    def bounded(self, x: Array) -> Array:
        """`x` within the clip."""
        return np.clip(x, -self.clip, self.clip) if self.clip > 0 else x

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """The two products of each step."""
        x = inputs[0]
        terms = dim.product(x.shape[:2]) * (x.shape[2] + self.hidden)
        return Cost(2 * terms * self.gates * self.hidden, moved(*inputs, *outputs))


class RNN(Recurrent):
    """h = f(x w' + h r' + b) (Elman 1990)."""

    activations: tuple[str, ...] = ("Tanh",)

    def step(self, x: Array, state: tuple[Array, ...], weights: tuple[Array, ...]) -> tuple[Array, ...]:
        """The formula."""
        (f,), (w, r, b) = self.functions(), weights
        return (f.compute(self.bounded(x @ w.T + state[0] @ r.T + b)),)


class GRU(Recurrent):
    """The gated recurrent unit (Cho et al. 2014), gates in the order z (update), r (reset), h (candidate).

    z, r = f(x w' + wb + h r' + rb); n = g(x wh' + wbh + (r h) rh' + rbh), or with `linear_before_reset`
    g(x wh' + wbh + r (h rh' + rbh)); h = (1 - z) n + z h.
    """

    activations: tuple[str, ...] = ("Sigmoid", "Tanh")
    linear_before_reset: bool = False

    gates: ClassVar[int] = 3
    biases: ClassVar[int] = 2

    def step(self, x: Array, state: tuple[Array, ...], weights: tuple[Array, ...]) -> tuple[Array, ...]:
        """The formulas."""
        (f, g), (w, r, wb, rb), (h,) = self.functions(), weights, state
        both, inner = 2 * self.hidden, x @ w.T + wb
        gates = f.compute(self.bounded(inner[:, :both] + h @ r[:both].T + rb[:both]))
        update, reset = np.split(gates, 2, axis=1)
        if self.linear_before_reset:
            recurrent = reset * (h @ r[both:].T + rb[both:])
        else:
            recurrent = (reset * h) @ r[both:].T + rb[both:]
        candidate = g.compute(self.bounded(inner[:, both:] + recurrent))
        return ((1 - update) * candidate + update * h,)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997), gates in the order i (input), o (output), f, c.

    i, f = f(x w' + h r' + b [+ p c]); n = g(…); c = f c + i n; o = f(… [+ p c]); h = o h(c). States h, then c.
    `b` is the sum of both biases. `peepholes`: one more input [3 H], for i, o, f. `input_forget`: f = 1 - i.
    """

    activations: tuple[str, ...] = ("Sigmoid", "Tanh", "Tanh")
    input_forget: bool = False
    peepholes: bool = False

    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2

    def extra(self) -> tuple[tuple[Size, ...], ...]:
        """The peepholes."""
        return ((3 * self.hidden,),) if self.peepholes else ()

    def step(self, x: Array, state: tuple[Array, ...], weights: tuple[Array, ...]) -> tuple[Array, ...]:
        """The formulas."""
        (f, g, out), (w, r, b, *peep), (h, c) = self.functions(), weights, state
        i, o, forget, n = np.split(x @ w.T + h @ r.T + b, 4, axis=1)
        see_i, see_o, see_f = np.split(peep[0], 3) if peep else (x.dtype.type(0),) * 3
        enter = f.compute(self.bounded(i + see_i * c))
        keep = 1 - enter if self.input_forget else f.compute(self.bounded(forget + see_f * c))
        c = keep * c + enter * g.compute(self.bounded(n))
        return f.compute(self.bounded(o + see_o * c)) * out.compute(c), c
