"""`python -m tenfold` is the shell's `tenfold`."""

from __future__ import annotations

import sys

from tenfold.cli import main

sys.exit(main())
