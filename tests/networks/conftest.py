"""Networks, losses and trainings, tested with the PyTorch of a built software stack: `test_in_the_stack.py` runs these.

Where PyTorch is not installed, which is where the rest of the tests run, nothing else here is collected.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

if find_spec("torch"):
    import torch

    torch.set_num_threads(1)  # networks of tests are small: threads would cost more than they bring where others work

collect_ignore_glob = [] if find_spec("torch") else ["test_[!i]*.py"]


@pytest.fixture(autouse=True, scope="session")
def _logged_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trainings of tests are not logged among those of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('log') / 'mlflow.db'}")
        yield
