"""The same network by every route gives the same regions in the same machine code, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tenfold
from tests.routes.networks import ROUTES, networks
from tests.routes.regions import apart, kernels, regions

NETWORKS = networks()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_route_leads_to_the_same_engine(name: str) -> None:
    network = NETWORKS[name]
    with torch.no_grad():
        wanted = network.module(network.example).numpy()
    engines = {route: tenfold.build(make(network), effort=0) for route, make in ROUTES.items()}
    first = engines["torch.export"]
    for engine in engines.values():
        assert not apart(regions(engine), regions(first))
        assert kernels(engine) == kernels(first)
        found = engine(network.example.numpy())
        assert np.linalg.norm(found - wanted) < 1e-5 * np.linalg.norm(wanted)
