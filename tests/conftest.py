"""Settings of all tests: random cases are drawn from the same seed each time, so that a failure repeats anywhere, and
builds are by the cost model alone unless a test asks for more: nothing is timed.
"""

from __future__ import annotations

import signal

from hypothesis import settings

from tenfold.compiler.build import build

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# A shell that starts tests in the background has them ignore Ctrl-C, and so would all their children.
signal.signal(signal.SIGINT, signal.default_int_handler)

assert build.__kwdefaults__
build.__kwdefaults__["effort"] = 0
