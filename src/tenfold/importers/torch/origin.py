"""Where a call of an exported program came from: the path of its module, the line of the user's source."""

from __future__ import annotations

import linecache
import re
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)\n?\s*(.*)')
_TORCH = str(Path(torch.__file__).parent)
_TYPED = ("<stdin>",)
_OWN = str(Path(__file__).parents[2])


def label(node: Any) -> str:
    """The module's path and the call's name: "encoder.0.attention/linear_3"."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed(stack.values()))[0] if stack else ""
    return f"{path}/{node.name}" if path else str(node.name)


def site(node: Any) -> str:
    """The innermost line of the user's source that led to a call."""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if frame[0] in _TYPED or not _foreign(frame[0])]
    if not own:
        return "no source line"
    file, line, _, code = own[-1]
    return f"{Path(file).name}:{line}: {code.strip()}".removesuffix(": ")


def raised_at(trace: TracebackType | None) -> str:
    """The innermost line of the user's source on the way to an exception; "" if there is none."""
    frames = [frame for frame in traceback.extract_tb(trace) if not _foreign(frame.filename)]
    inside = [frame for frame in frames if frame.name not in ("<module>", "<lambda>")]
    if not inside:
        return ""
    last = inside[-1]
    code = linecache.getline(last.filename, last.lineno or 0).strip()
    return f"{last.filename}:{last.lineno}: {code}"


def _foreign(file: str) -> bool:
    return file.startswith((_TORCH, _OWN, "<")) or "/importlib/" in file
