"""What the zoo holds: one architecture family at a small configuration, with seeded weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

Inputs = dict[str, torch.Tensor] | tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Entry:
    """A family: what makes its module and its inputs, and the sizes left open; the only route that it comes by, if
    there is but one, and what computes its answer in f64 if that is not PyTorch.
    """

    name: str
    make: Callable[[], tuple[nn.Module, Inputs]]
    light: bool = False
    opening: dict[str, Any] = field(default_factory=dict)
    native: str = ""
    double: Callable[[Any, Inputs], Any] | None = None

    def build(self) -> tuple[nn.Module, Inputs]:
        """The module in inference mode, its weights and inputs the same every time."""
        torch.manual_seed(0)
        module, inputs = self.make()
        return module.eval().requires_grad_(False), inputs


def words(batch: int = 2, length: int = 24, vocabulary: int = 200) -> torch.Tensor:
    """Token numbers."""
    return torch.randint(3, vocabulary, (batch, length))


def pixels(size: int = 64, channels: int = 3, batch: int = 1) -> torch.Tensor:
    """Images."""
    return torch.randn(batch, channels, size, size)
