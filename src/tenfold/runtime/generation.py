"""Continuing tokens: a language model with state, called on a prompt and then on one token after the other.

The engine takes `input_ids` [batch, tokens], and where it has them `attention_mask` [batch, tokens so far] and
`position_ids` or `cache_position`, and gives `logits` [batch, tokens, vocabulary]: what transformers and optimum
call them. Any other input is bound to the context beforehand.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import InputError, OptionError
from tenfold.options import is_whole
from tenfold.runtime.context import Context
from tenfold.runtime.engine import Engine
from tenfold.runtime.plan import Spec
from tenfold.runtime.state import FEWEST_ROWS

Array = NDArray[Any]
Scores = NDArray[np.float64]
Processor = Callable[[Array, Array], Array]
"""Takes all tokens so far [batch, n] and the scores of the next [batch, vocabulary]; gives the scores to choose by."""


def generate(
    model: Engine | Context,
    input_ids: Any,
    *,
    attention_mask: Any = None,
    max_new_tokens: int = 20,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
    logits_processor: Processor | None = None,
) -> Any:
    """The prompts [batch, n] and what the model continues them with: [batch, n + new], of the prompts' kind of array.

    An engine begins anew; a context goes on where its state is. Prompts of different lengths are padded on the left,
    where `attention_mask` is 0. The likeliest token is taken, or, to `do_sample`, one by chance: of the `top_k`
    likeliest (0: all), of as many as hold the share `top_p`, after division by `temperature`. Rows end at an
    `eos_token_id` and are filled with `pad_token_id` (by default the first eos) until all have ended.

    Raises InputError for arrays that do not fit, OptionError for an engine without such inputs or without state.
    """
    rows = _Prompt(input_ids).rows
    stopping = stream(
        model,
        input_ids,
        attention_mask=attention_mask,
        max_new_tokens=max_new_tokens,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        do_sample=do_sample,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        logits_processor=logits_processor,
    )
    new = [tokens[:, None] for tokens in stopping]
    return _Prompt(input_ids).returned(np.concatenate([rows, *new], axis=1))


def stream(
    model: Engine | Context,
    input_ids: Any,
    *,
    attention_mask: Any = None,
    max_new_tokens: int = 20,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
    logits_processor: Processor | None = None,
) -> Iterator[NDArray[np.int64]]:
    """As `generate`, but each step's tokens [batch] as soon as they are known."""
    context = _context_of(model)
    prompt = _Prompt(input_ids).rows
    _require_count("max_new_tokens", max_new_tokens)
    ends = _tokens("eos_token_id", eos_token_id)
    pads = ends if pad_token_id is None else _tokens("pad_token_id", pad_token_id)
    pad = int(pads[0]) if pads.size else 0
    if logits_processor is not None and not callable(logits_processor):
        remedy = "give a function of all tokens so far and the scores of the next"
        raise OptionError("logits_processor cannot be called", argument="logits_processor", remedy=remedy)
    choose = _Chooser(temperature, top_k, top_p, seed) if do_sample else _likeliest
    caller = _Caller(context, _Told(prompt, _whole_mask(context, prompt, attention_mask)))
    return _continued(caller, prompt, max_new_tokens, choose, ends, pad, logits_processor)


def _continued(
    caller: _Caller,
    prompt: NDArray[np.int64],
    most: int,
    choose: Callable[[Array], NDArray[np.int64]],
    ends: NDArray[np.int64],
    pad: int,
    logits_processor: Processor | None,
) -> Iterator[NDArray[np.int64]]:
    """The tokens [batch] of each step, `most` steps or until all rows have ended."""
    history = prompt
    done = np.zeros(len(prompt), bool)
    for _ in range(most):
        scores = caller.scores()
        if logits_processor is not None:
            scores = logits_processor(history, scores)
        tokens = choose(scores)
        if ends.size:
            tokens = np.where(done, pad, tokens)
            done |= np.isin(tokens, ends)
        yield tokens
        if ends.size and done.all():
            return
        caller.told.add(tokens)
        if logits_processor is not None:
            history = np.concatenate([history, tokens[:, None]], axis=1)


def _context_of(model: Any) -> Context:
    """A context to call: the given one, or an engine's that begins anew."""
    if isinstance(model, Engine):
        return model.context()
    if not isinstance(model, Context):
        raise OptionError(
            f"model is a {type(model).__name__}",
            argument="model",
            remedy="give an engine, made by tenfold.build or tenfold.load, or a context of one",
        )
    return model


def _require_count(name: str, number: Any) -> None:
    if not is_whole(number) or number < 0:
        raise OptionError(f"{name} is {number!r}", argument=name, remedy="use an integer of 0 or more")


def _tokens(name: str, given: Any) -> NDArray[np.int64]:
    """One number of a token, several, or none, as an array."""
    tokens = [] if given is None else np.ravel(np.asarray(given, object)).tolist()
    if not all(map(is_whole, tokens)):
        raise OptionError(f"{name} is {given!r}", argument=name, remedy="give a token's number, or a list of them")
    return np.array(tokens, np.int64)


class _Prompt:
    """The prompts as an array of i64 [batch, n], and what gives results of their kind back."""

    def __init__(self, given: Any, name: str = "input_ids") -> None:
        torch = sys.modules.get("torch")
        self._torch = torch if torch is not None and isinstance(given, torch.Tensor) else None
        try:
            rows = given.detach().cpu().numpy() if self._torch else np.asarray(given)
        except ValueError as error:
            remedy = "pad them on the left to one length, with an attention_mask of 0 there"
            raise InputError(f"{name} has rows of unlike lengths", argument=name, remedy=remedy) from error
        if rows.ndim == 1:
            rows = rows[None]
        if rows.ndim != 2 or rows.dtype.kind not in "iub" or not rows.size:
            raise InputError(
                f"{name} is {rows.dtype}{list(rows.shape)}",
                argument=name,
                remedy="give integers [batch, tokens], at least one token",
            )
        self.rows: NDArray[np.int64] = np.ascontiguousarray(rows, np.int64)

    def returned(self, found: Array) -> Any:
        """An array of the prompts' kind."""
        return self._torch.from_numpy(found) if self._torch else found


class _Told:
    """What a model is told: new tokens [batch, n], the mask of all [batch, so far], the places of the new."""

    def __init__(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> None:
        self.ids, self.mask = ids, mask
        self.positions = _positions(ids, mask)
        self._counts = mask.sum(axis=1, keepdims=True)
        self._room = mask

    def add(self, tokens: NDArray[np.int64]) -> None:
        """The next call gives one more token of each row."""
        self.ids = tokens[:, None]
        self.positions = self._counts
        self._counts = self._counts + 1
        rows, length = self.mask.shape
        if rows > 1:
            self.mask = np.concatenate([self.mask, np.ones((rows, 1), np.int64)], axis=1)
            return
        if length == self._room.shape[1]:
            self._room = np.ones((1, 2 * length + FEWEST_ROWS), np.int64)
            self._room[:, :length] = self.mask
        self.mask = self._room[:, : length + 1]

    @property
    def counted(self) -> NDArray[np.int64]:
        """The places of the new tokens among all."""
        length = self.mask.shape[1]
        return np.arange(length - self.ids.shape[1], length)


class _Caller:
    """A context called as a language model, with what it is told."""

    def __init__(self, context: Context, told: _Told) -> None:
        self.told = told
        specs = {spec.name: spec for spec in context.engine.inputs}
        free = [name for name in specs if name not in context.bound]
        _required(specs, "input_ids", context.engine.inputs)
        unknown = next((name for name in free if name not in _GIVEN), None)
        if unknown is not None:
            raise OptionError(
                f"generation does not know what to give the input {specs[unknown]}",
                argument=unknown,
                remedy="bind it to the context, and generate with that",
            )
        names = [spec.name for spec in context.engine.outputs]
        if not context.engine.state:
            raise OptionError("the engine keeps no state", argument="model", remedy="build it with state=True")
        self._call = context.call
        self._given = [(name, _GIVEN[name], specs[name].dtype.numpy) for name in free]
        self._logits = names.index("logits") if "logits" in names else 0

    def scores(self) -> Array:
        """The logits of the token after the last of each row."""
        told = self.told
        logits = self._call({name: give(told).astype(dtype, copy=False) for name, give, dtype in self._given})
        found: Array = logits[self._logits]
        return found[:, -1] if found.ndim == 3 else found


def _required(specs: dict[str, Spec], name: str, known: Sequence[Spec]) -> Spec:
    if name not in specs:
        raise OptionError(
            f"the engine has no input {name!r}", argument="model", remedy=f"it takes {'; '.join(map(str, known))}"
        )
    return specs[name]


def _whole_mask(context: Context, prompt: Array, given: Any) -> NDArray[np.int64]:
    """The mask of what the context has seen and the prompts."""
    before = np.ones((len(prompt), context.rows), np.int64)
    if given is None:
        return np.concatenate([before, np.ones(prompt.shape, np.int64)], axis=1)
    own = _Prompt(given, "attention_mask").rows
    whole = own if own.shape[1] > prompt.shape[1] else np.concatenate([before, own], axis=1)
    if whole.shape != (len(prompt), before.shape[1] + prompt.shape[1]):
        raise InputError(
            f"attention_mask is {list(own.shape)} for prompts {list(prompt.shape)}",
            argument="attention_mask",
            remedy="give 0 or 1 for each token",
        )
    return whole


def _positions(ids: Array, mask: Array) -> NDArray[np.int64]:
    """A token's place among those of its row that count."""
    places = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    return np.ascontiguousarray(places[:, -ids.shape[1] :])


_GIVEN: dict[str, Callable[[_Told], Array]] = {
    "input_ids": lambda told: told.ids,
    "attention_mask": lambda told: told.mask,
    "position_ids": lambda told: told.positions,
    "cache_position": lambda told: told.counted,
}
"""What the inputs of a language model hold, by name."""


def _likeliest(scores: Array) -> NDArray[np.int64]:
    found: NDArray[np.int64] = scores.argmax(axis=-1)
    return found


class _Chooser:
    """Chooses tokens by chance."""

    def __init__(self, temperature: float, top_k: int, top_p: float, seed: int | None) -> None:
        _require_count("top_k", top_k)
        if seed is not None:
            _require_count("seed", seed)
        for name, number, most in (("temperature", temperature, math.inf), ("top_p", top_p, 1.0)):
            if not isinstance(number, Real) or isinstance(number, bool) or not 0 < number <= most:
                limit = "" if most > 1 else " and up to 1"
                raise OptionError(f"{name} is {number!r}", argument=name, remedy=f"use a number above 0{limit}")
        self._temperature, self._top_k, self._top_p = temperature, top_k, top_p
        self._random = np.random.default_rng(seed)

    def __call__(self, scores: Array) -> NDArray[np.int64]:
        wide = scores.astype(np.float64) / self._temperature
        return np.array([self._one(row) for row in wide], np.int64)

    def _one(self, scores: Scores) -> int:
        order = np.argsort(-scores, kind="stable")
        if self._top_k:
            order = order[: self._top_k]
        shares = np.exp(scores[order] - scores[order[0]])
        shares /= shares.sum()
        if self._top_p < 1:
            kept = int(np.searchsorted(np.cumsum(shares), self._top_p)) + 1
            order, shares = order[:kept], shares[:kept] / shares[:kept].sum()
        return int(self._random.choice(order, p=shares))
