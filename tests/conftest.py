"""Settings of all tests: random cases are drawn from the same seed each time, so that a failure repeats anywhere."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
