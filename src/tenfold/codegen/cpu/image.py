"""From the objects of kernels to what an engine file holds for one CPU target."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenfold.codegen.cpu import dispatch, team
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.link import Blob, Unit, link
from tenfold.codegen.cpu.pool import CompilePool, Failure, Request
from tenfold.errors import UnsupportedError


@dataclass(frozen=True)
class Image:
    """`blob` holds the stages by their names, "dispatch" and "ticks"; `crew` the code of the worker threads, which is
    linked alone since it outlives the engine.
    """

    blob: Blob
    crew: Blob


@functools.cache
def always(isa: Isa) -> Sequence[Request]:
    """What every image needs beside its stages: the dispatcher, the crew, the memory functions."""
    sources = [dispatch.dispatcher(isa), team.crew(isa)]
    return [*(Request(source, isa, optimise=True) for source in sources), Request(dispatch.library(isa)[0], isa)]


def link_image(pool: CompilePool, isa: Isa, objects: Mapping[str, bytes]) -> Image:
    """Link the objects, each defining `stage`, under their names, with the dispatcher and the memory functions.

    UnsupportedError names the stage that needs a symbol nobody defines.
    """
    own = [_object(made) for made in pool.compile(always(isa))]
    exports = dispatch.library(isa)[1]
    units = [Unit(name, data, {"stage": name}) for name, data in objects.items()]
    blob = link([*units, Unit("dispatcher", own[0], dispatch.ENTRIES)], [Unit("memory", own[2], exports)])
    return Image(blob, link([Unit("crew", own[1], team.ENTRIES)]))


def _object(made: bytes | Failure) -> bytes:
    if isinstance(made, Failure):
        raise UnsupportedError(f"Tenfold's own code does not compile: {made.reason}", remedy="report this")
    return made
