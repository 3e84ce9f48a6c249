"""Settings of all tests: random cases are drawn from the same seed each time, so that a failure repeats anywhere, and
builds are by the cost model alone unless a test asks for more: nothing is timed.
"""

from __future__ import annotations

from hypothesis import settings

from tenfold.compiler.build import build

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

assert build.__kwdefaults__
build.__kwdefaults__["effort"] = 0
