"""Weights that were drawn, not trained, made such that a network's results tell something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

SMALL = 0.02


def plausible(model: Any, given: Sequence[Any]) -> Any:
    """The model, whose batch norms have the statistics of what is given, and whose last layers are not all zero.

    Without the former numbers fade or grow from layer to layer until f16 holds them no more; without the latter a
    classifier that is made new answers nothing but zeros, which neither show an error nor take the time of others.
    """
    torch.manual_seed(1)
    with torch.no_grad():
        for matrix in (one for one in model.parameters() if one.ndim > 1 and not one.any()):
            matrix.normal_(0, SMALL)
        norms = [one for one in model.modules() if isinstance(one, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = None
            norm.train()
        if norms:
            model(*given)
    return model.eval()
