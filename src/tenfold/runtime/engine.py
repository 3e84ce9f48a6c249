"""An engine: an immutable plan, its code and its weights. Shared by threads; run through contexts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tenfold import files
from tenfold.errors import EngineError, InputError, LimitError, OptionError, TargetError
from tenfold.ir.dtype import DType
from tenfold.ir.op import Op
from tenfold.options import is_whole, require_limit, require_threads
from tenfold.runtime import format, open_device
from tenfold.runtime.bounds import verify as verify_plan
from tenfold.runtime.calls import Inputs
from tenfold.runtime.context import Context
from tenfold.runtime.control import with_steps
from tenfold.runtime.cpu.arena import Arena
from tenfold.runtime.cpu.block import ABI_VERSION
from tenfold.runtime.cpu.code import Code
from tenfold.runtime.cpu.invoke import Executable
from tenfold.runtime.cpu.sizes import NativeSizes
from tenfold.runtime.cpu.team import Team, machine_share, team_of
from tenfold.runtime.format import File
from tenfold.runtime.frame import Frame, Frames
from tenfold.runtime.installed import catalogue, require_plugins
from tenfold.runtime.plan import Plan, Spec, from_manifest
from tenfold.runtime.ranges import Sizes, ranges
from tenfold.runtime.records import damaged, read
from tenfold.runtime.refit import refit
from tenfold.runtime.state import State
from tenfold.runtime.structure import Structure
from tenfold.runtime.taps import Reading, TappedContext, Taps, tap
from tenfold.target import Target

if TYPE_CHECKING:
    from tenfold.runtime.cuda.device import Device
    from tenfold.runtime.cuda.resident import Resident

Array = NDArray[Any]


class Engine:
    """A built model. Call it on arrays; it is safe to call from many threads.

    `inputs` and `outputs` say what it takes and gives, `report` what the build did. TargetError if this machine runs
    none of its targets; or only when it is to run, if it may be `foreign`.
    """

    def __init__(
        self,
        file: File,
        *,
        threads: int | None = None,
        memory_limit: int | None = None,
        plugins: Sequence[Any] = (),
        foreign: bool = False,
    ) -> None:
        if not isinstance(file, File):
            remedy = "load an engine with tenfold.load(path), build one with tenfold.build(model)"
            raise OptionError(f"file is a {type(file).__name__}", argument="file", remedy=remedy)
        self.file = file
        self.manifest = file.manifest
        self.target, self._refusal = _best_target(file)
        if self._refusal and not foreign:
            raise self._refusal
        self.entry: Mapping[str, Any] = read(Mapping[str, Any], self.manifest["targets"][self.target], self.target)
        self._on_device = self.target.startswith("cuda")
        self._resident: Resident | None = None
        self.plan: Plan = from_manifest(self.entry.get("plan"), self._section("plan"))
        self.weights = file.section("weights")
        verify_plan(self.plan, self.weights.nbytes)
        self._inputs, self._outputs = self.plan.given, self.plan.returned
        kept = read(int | None, self.manifest.get("memory_limit"), "memory_limit")
        self.memory_limit = memory_limit if memory_limit is not None else kept
        self.arena_limit = _rest_of(self.memory_limit, self.weights.nbytes)
        self._threads = threads or read(int | None, self.manifest.get("threads"), "threads")
        self._code = "beside" if self._on_device else "code"
        native = not self._refusal and (f"{self._code}_section" in self.entry or not self._on_device)
        self._program = self.executable(self.plan) if native else None
        self._plugins = plugins
        self.spans = with_steps(self.plan.spans, self._catalogue)
        if any(step is not None for _, step in self.spans):
            self._catalogue()
        objects = any(spec.dtype.is_object for spec in (*self.plan.inputs, *self.plan.outputs))
        self.is_one_span = len(self.spans) == 1 and self.plan.spans[0].is_native and not objects
        self._structure = Structure.read(self.manifest.get("structure"), len(self.outputs))
        self._frames: dict[int, Frames] = {}
        self._idle: list[Context] = []
        self._lock = Lock()

    def _section(self, name: str) -> format.Bytes:
        """One of the target's own sections."""
        return self.file.section(read(str, self.entry.get(f"{name}_section"), f"{self.target}.{name}_section"))

    def _entries(self, name: str, code: int) -> Mapping[str, int]:
        """Where functions begin in a section of that many bytes."""
        found: Mapping[str, int] = read(Mapping[str, int], self.entry.get(name), f"{self.target}.{name}")
        for function, at in found.items():
            if not 0 <= at < code:
                raise damaged(f"{self.target}.{name}", f"{function} at byte {at} of {code}")
        return found

    @property
    def program(self) -> Executable:
        """The CPU's code; TargetError if it is another machine's."""
        if self._program is None:
            assert self._refusal
            raise self._refusal
        return self._program

    def executable(self, plan: Plan) -> Executable:
        """The native calls of a plan that walks the engine's own code."""
        self._section(self._code)
        code = _map_code(self.file, self.entry[f"{self._code}_section"])
        return Executable(
            code,
            self._entries("entries", code.size),
            plan.steps,
            plan.argmap,
            plan.binds,
            slots=plan.slots,
            bases=plan.bases,
            scratch=plan.scratch,
        )

    def _catalogue(self) -> tuple[type[Op], ...]:
        needed = read(Mapping[str, tuple[str, ...]], self.manifest.get("plugins", {}), "plugins")
        return catalogue(needed, self._plugins)

    @property
    def defaults(self) -> tuple[Spec, ...]:
        """The weights that an ONNX model lets a call replace: inputs with a default. `refit` replaces them."""
        said = read(Mapping[str, Any], self.manifest.get("model", {}), "model").get("overridable", [])
        return tuple(
            Spec(*one) for one in read(tuple[tuple[str, DType, tuple[int, ...]], ...], said, "model.overridable")
        )

    @property
    def inputs(self) -> tuple[Spec, ...]:
        """What the engine takes, in the model's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Spec, ...]:
        """What it gives, in the model's order."""
        return self._outputs

    @cached_property
    def dims(self) -> dict[str, Sizes]:
        """What each open size of the inputs may be, as the model's operators need it: found by trying."""
        return ranges(self.plan)

    @property
    def state(self) -> tuple[Spec, ...]:
        """What its contexts keep from call to call."""
        return tuple(one.spec for one in self.plan.carried)

    @property
    def report(self) -> Mapping[str, Any]:
        """What the build did: regions, tactics, refusals, memory, and where each came from."""
        found: Mapping[str, Any] = self.manifest["targets"][self.target].get("report", {})
        return found

    def __call__(self, *arrays: Any, **named: Any) -> Any:
        """The model's output for these arrays, given in order or by name; a tuple if it has several.

        A PyTorch model takes its own nested arguments, and what comes back is nested as the model's result is.
        Raises InputError for an array that is missing, unknown, given twice, or does not fit.
        """
        structure = self._structure
        given: Inputs = structure.arrays(arrays, named) if structure else arrays
        context = self._borrowed()
        try:
            if context.in_order is not None and not (named or structure):
                found = context.in_order(*arrays)
                if found is not None:
                    return found
            results = context.call(self._named(arrays, named) if named and not structure else given)
        finally:
            self._idle.append(context)
        if structure:
            return structure.restored(results)
        return results[0] if len(results) == 1 else tuple(results)

    def _named(self, arrays: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        names = [spec.name for spec in self.inputs]
        if len(arrays) > len(names):
            raise InputError(
                f"{len(arrays)} arrays given; the model takes {len(names)}",
                argument="inputs",
                remedy="give each input once",
            )
        twice = [name for name in names[: len(arrays)] if name in named]
        if twice:
            raise InputError(f"input {twice[0]!r} is given twice", argument=twice[0], remedy="give each input once")
        return dict(zip(names, arrays, strict=False)) | dict(named)

    def run(self, inputs: Mapping[str, Any] | Sequence[Any]) -> dict[str, Array]:
        """The outputs by name, in the model's order, as arrays of the kind of the first input."""
        context = self._borrowed()
        try:
            return context.run(inputs)
        finally:
            self._idle.append(context)

    def _borrowed(self) -> Context:
        try:
            found = self._idle.pop()
        except IndexError:
            return self.context()
        if self.plan.carried:
            found.reset()
        return found

    @property
    def taps(self) -> tuple[str, ...]:
        """The names of the values that `tap` reads: those of the user's model that the optimised graph still has."""
        return tuple(self._taps.named)

    @cached_property
    def _taps(self) -> Taps:
        return Taps(self.file, self._catalogue(), self.file.section(self.entry["taps_section"]).tobytes())

    def tap(self, inputs: Mapping[str, Any] | Sequence[Any], names: Sequence[str] | None = None) -> dict[str, Array]:
        """Values of the user's model, by name, as they are in a call on these inputs; all of `taps`, or those named.

        The engine is not changed: a value that a kernel writes is read as the kernel left it; one inside a kernel is
        computed by the reference from those. Values of a branch that is not taken are left out; those of a loop are
        of its last turn. Raises InputError for a name that is not among `taps`, EngineError for an engine
        that a GPU and the CPU share, and as `run` does.
        """
        return tap(self._taps, self._tapped, inputs, names)

    def _tapped(self, reading: Reading) -> Context:
        return self._device().tapped(self, reading) if self._on_device else TappedContext(self, reading)

    def __copy__(self) -> Engine:
        return self

    def __deepcopy__(self, memo: Any) -> Engine:
        """Itself: an engine does not change, and may be shared."""
        return self

    def __reduce__(self) -> NoReturn:
        """EngineError: an engine goes to other processes as a file."""
        raise EngineError("an engine is not pickled", remedy="save it, and load the file where it is needed")

    def context(self, *, threads: int | None = None) -> Context:
        """A new running instance; `threads` is the most threads that a call on it uses."""
        require_threads(threads)
        if self._on_device:
            return self._device().context(self, threads)
        return Context(self, threads)

    def _device(self) -> Device:
        if self._refusal:
            raise self._refusal
        return open_device()

    @property
    def resident(self) -> Resident:
        """What all contexts share on the GPU, put there when first asked for; TargetError if there is none."""
        with self._lock:
            if self._resident is None:
                self._resident = self._device().resident(self)
            return self._resident

    def frames(self, threads: int | None) -> Frames:
        """The frames for a number of threads (None: the engine's own)."""
        count = threads or self._threads or machine_share().threads
        with self._lock:
            if count not in self._frames:
                self._frames[count] = Frames(self.plan, count, native=self.native_sizes, **self._machine())
            return self._frames[count]

    @cached_property
    def native_sizes(self) -> NativeSizes | None:
        """What computes the sizes of calls, where the engine runs natively on this machine."""
        native = self._program
        return NativeSizes(self.plan.program, native.sizes, native) if native and native.sizes else None

    def _machine(self) -> dict[str, int]:
        """What a GPU decides of a call's sizes; where there is none, as usual for its kind."""
        if not self._on_device:
            return {}
        return {"multiprocessors": self.entry["processors"] if self._refusal else open_device().processors}

    def team(self) -> Team:
        """The process's worker threads; EngineError for an engine whose code speaks with other ones than ours."""
        if read(int, self.entry.get("abi", 0), "abi") != ABI_VERSION:
            raise EngineError(
                f"{self.file.name} was built for other worker threads", remedy="build it again, or run it on one thread"
            )
        crew = self._section("crew")
        return team_of(crew.tobytes, self._entries("crew_entries", crew.size))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the engine file, whole: an older file of that name stays until the new one is complete."""
        format.write(files.path_of(path, "path"), self.file.image)

    def refit(self, weights: Mapping[str, Array]) -> Engine:
        """An engine with these weights of the user's model, by name, replaced; the rest is as it was.

        No compiler is needed. Raises InputError naming a weight that is unknown, of another type, folded together with
        one that must be given too, or whose value the engine was built round (the report lists what was taken for
        granted).
        """
        image = refit(self.file, weights)
        return from_image(
            image,
            self.file.name,
            threads=self._threads,
            memory_limit=self.memory_limit,
            foreign=self._refusal is not None,
        )

    def memory(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
        """Bytes for inputs of these shapes: weights; each context's arena; all its buffers if none shared memory; the
        most that lives at one step, which no arena can go below; and the state after a first call, if it keeps some.

        Inputs whose sizes are all fixed may be left out; integers that sizes depend on are taken as 0. Raises
        InputError for a shape that is missing or does not fit.
        """
        names = [spec.name for spec in self.inputs]
        if not isinstance(shapes, Mapping):
            remedy = f"give a dict by the names of inputs: {', '.join(names)}"
            raise InputError(f"shapes is a {type(shapes).__name__}", argument="shapes", remedy=remedy)
        if unknown := sorted(shapes.keys() - set(names)):
            remedy = f"its inputs are {', '.join(names)}"
            raise InputError(f"the model has no input {unknown[0]!r}", argument=unknown[0], remedy=remedy)
        arrays = [np.broadcast_to(np.zeros((), s.dtype.numpy), _shape(s, shapes)) for s in self.inputs]
        frame, kept = self.first_frame(arrays)
        sizes = [(int(frame.slots[size]), first, last) for _, _, size, first, last in self.plan.buffers]
        alive = (sum(n for n, first, last in sizes if first <= step <= last) for _, step, _ in sizes)
        found = {"weights": self.weights.nbytes, "arena": frame.arena, "buffers": sum(n for n, _, _ in sizes)}
        return found | {"alive": max(alive, default=0)} | ({"state": kept.nbytes} if kept else {})

    def first_frame(self, arrays: Sequence[Array]) -> tuple[Frame, State]:
        """The frame of a first call on these arrays, in the order of `inputs`, and the state that it would keep."""
        state, frames = State(self.plan, Arena()), self.frames(None)
        places = (number for number in range(len(self.plan.inputs)) if number not in self.plan.hidden)
        given = dict(zip(places, arrays, strict=True))
        frame = frames.find(state.complete(given))
        while state.make_room(frame.slots):
            frame = frames.find(state.complete(given))
        return frame, state


def load(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    verify: str = "default",
    memory_limit: int | None = None,
    plugins: Sequence[Any] = (),
) -> Engine:
    """The engine in a file. `threads` overrides the engine's own default; `verify="sha256"` checks weights in full.
    `plugins` are those whose operations its host steps hold, beside the installed ones.

    Raises EngineError for a damaged or foreign file, TargetError if none of its targets runs here.
    """
    if verify not in ("default", "sha256"):
        raise OptionError(f"verify is 'default' or 'sha256', not {verify!r}", argument="verify", remedy="leave it out")
    require_threads(threads)
    require_limit(memory_limit)
    require_plugins(plugins)
    return from_file(
        files.path_of(path, "path"), verify=verify, threads=threads, memory_limit=memory_limit, plugins=plugins
    )


def from_file(path: str | os.PathLike[str], *, verify: str = "default", **options: Any) -> Engine:
    """The engine in a file; `options` are those of Engine."""
    return Engine(File(format.read(path), str(Path(path)), verify=verify), **options)


def _shape(spec: Spec, shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    sizes: Any = shapes.get(spec.name, spec.shape)
    sizes = sizes if isinstance(sizes, Iterable) and not isinstance(sizes, str) else (sizes,)
    found = tuple(size for size in sizes if is_whole(size) and size >= 0)
    if len(found) != len(sizes):
        problem = f"shapes[{spec.name!r}] is {sizes!r}" if spec.name in shapes else f"the sizes of {spec} are open"
        raise InputError(problem, argument=spec.name, remedy=f"give the size of each axis: {{{spec.name!r}: (1, 3)}}")
    return found


def from_image(image: NDArray[np.uint8], name: str, **options: Any) -> Engine:
    """The engine in memory that `image` holds; `options` are those of Engine."""
    return Engine(File(image, name), **options)


def _best_target(file: File) -> tuple[str, TargetError | None]:
    """The best of the engine's targets that this machine runs; or the first, and why it runs none."""
    names = list(read(Mapping[str, Any], file.manifest.get("targets"), "targets"))
    if not names:
        raise damaged("targets", "there is none")
    order = sorted(names, key=lambda name: (-_rank(name), names.index(name)))
    reasons = []
    for name in order:
        refusal = _refusal(name) or _refusal_beside(file, name)
        if refusal is None:
            return name, None
        reasons.append(refusal)
    return names[0], TargetError(
        f"{file.name}: this machine runs none of the engine's targets; " + "; ".join(reasons),
        remedy="build it with --target cpu on this machine, or add this machine's target",
    )


def _refusal(name: str) -> str | None:
    """Why this machine does not run a target of an engine, which may be one of a later version."""
    try:
        return Target.parse(name)[0].refusal()
    except TargetError as error:
        return error.message


def _refusal_beside(file: File, name: str) -> str | None:
    """Why this machine does not run the part of a GPU's code that is the CPU's."""
    cpu = read(str | None, read(Mapping[str, Any], file.manifest["targets"][name], name).get("cpu"), f"{name}.cpu")
    return _refusal(cpu) if cpu else None


def _rank(name: str) -> int:
    gpu = name.removeprefix("cuda:sm_")
    if gpu.isdigit():
        return int(gpu)
    known = ("cpu:x86-64-v3", "cpu:aarch64", "cpu:x86-64-v4")
    level = name.split("+")[0]
    return known.index(level) if level in known else -1


def _rest_of(limit: int | None, weights: int) -> int | None:
    """What a limit of bytes leaves beside the weights."""
    if limit is None:
        return None
    if weights > limit:
        message = f"the engine's weights take {weights} bytes, and the limit is {limit}"
        raise LimitError(message, argument="memory_limit", remedy="raise memory_limit")
    return limit - weights


def _map_code(file: File, section: str) -> Code:
    data = file.section(section)
    if isinstance(file.image, np.memmap) and file.image.filename:
        descriptor = os.open(file.image.filename, os.O_RDONLY)
        try:
            return Code.from_file(descriptor, file.offset(section), data.size)
        finally:
            os.close(descriptor)
    return Code.from_bytes(data.tobytes())
