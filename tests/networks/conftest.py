"""Networks, losses and trainings, tested with the PyTorch of a built software stack: `test_in_the_stack.py` runs these.

Where PyTorch is not installed, which is where the rest of the tests run, nothing else here is collected.
"""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["test_[!i]*.py"]
