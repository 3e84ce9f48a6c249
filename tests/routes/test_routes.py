"""The same network by every route gives the same regions in the same machine code, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.routes.networks import engines, networks
from tests.routes.regions import apart, kernels, regions

NETWORKS = networks()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_route_leads_to_the_same_engine(name: str) -> None:
    network = NETWORKS[name]
    with torch.no_grad():
        wanted = network.module(network.example).numpy()
    built = engines(network)
    first = built["torch.export"]
    for engine in built.values():
        assert not apart(regions(engine), regions(first))
        assert kernels(engine) == kernels(first)
        found = engine(network.example.numpy())
        assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted)
