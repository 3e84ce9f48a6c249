"""Operations that may run on the host, each with the reason. One that runs there and is not listed is a gap.

Whatever touches values that are no numbers may: they have no place in the memory that kernels see.
"""

from __future__ import annotations

from collections.abc import Mapping

OBJECTS = "strings, lists, optional values and maps have no place in the memory that kernels see"

LISTED: Mapping[str, str] = {
    "CountGrams": "n-grams of a large vocabulary are looked up in a table, not compared with each window",
    "ImageDecoder": "image files are decoded by Pillow",
    "DFT": "of a length that nothing bounds, or with a great prime factor, products would take its square in memory",
    "Require": "what it says, if its condition does not hold, is a text of its own",
    "Resize": "antialiased, of a region that the call tells: its numbers decide how many elements each result reads",
    "STFT": "of frames of a length that nothing bounds, or with a great prime factor, products would take its square",
}


def reason(kind: str, *, objects: bool) -> str:
    """Why an operation may run on the host, `objects` if it touches values that are no numbers; "" if it may not."""
    return OBJECTS if objects else LISTED.get(kind, "")
