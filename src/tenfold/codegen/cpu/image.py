"""From the objects of kernels to what an engine file holds for one CPU target."""

from __future__ import annotations

from collections.abc import Mapping
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


def link_image(pool: CompilePool, isa: Isa, objects: Mapping[str, bytes]) -> Image:
    """Link the objects, each defining `stage`, under their names, with the dispatcher and the memory functions.

    UnsupportedError names the stage that needs a symbol nobody defines.
    """
    memory, exports = dispatch.library(isa)
    sources = {"dispatcher": dispatch.dispatcher(isa), "crew": team.crew(isa)}
    requests = [Request(source, isa, optimise=True) for source in sources.values()] + [Request(memory, isa)]
    own = [_object(made) for made in pool.compile(requests)]
    units = [Unit(name, data, {"stage": name}) for name, data in objects.items()]
    blob = link([*units, Unit("dispatcher", own[0], dispatch.ENTRIES)], [Unit("memory", own[2], exports)])
    return Image(blob, link([Unit("crew", own[1], team.ENTRIES)]))


def _object(made: bytes | Failure) -> bytes:
    if isinstance(made, Failure):
        raise UnsupportedError(f"Tenfold's own code does not compile: {made.reason}", remedy="report this")
    return made
