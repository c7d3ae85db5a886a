"""`python scripts/x.py ...` restarts as `./s2cr x ...`, so that imports are the same in both ways."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_script = Path(sys.argv[0]).resolve()
_launcher = _script.parent.parent / "s2cr"
os.execv(_launcher, [str(_launcher), _script.stem, *sys.argv[1:]])
