"""The GPU that most tests here run on."""

from __future__ import annotations

import pytest

from tests.runtime.cuda.emulated import FakeDriver, emulate
from tests.runtime.cuda.pretended import Current, pretend


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """An emulated GPU."""
    return emulate(monkeypatch)


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> Current:
    """PyTorch's tensors and streams as of that GPU."""
    return pretend(monkeypatch)
