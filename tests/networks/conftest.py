"""Networks, losses and trainings, tested with the environments of a built software stack: `test_in_the_stack.py` does.

Where neither is installed, which is where the rest of the tests run, nothing else here is collected.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

if find_spec("torch"):
    import torch

    torch.set_num_threads(1)  # networks of tests are small: threads would cost more than they bring where others work
elif find_spec("tensorflow"):
    from brainmri.quiet import native_notes_hidden

    with native_notes_hidden():
        import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

IN_THE_STACK = bool(find_spec("torch") or find_spec("tensorflow"))
collect_ignore_glob = [] if IN_THE_STACK else ["test_[!i]*.py"]


@pytest.fixture(autouse=IN_THE_STACK, scope="session")  # elsewhere it would reach the tests of other folders
def logged_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Trainings of tests are not logged among those of whoever runs them. Returns where they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", where := f"sqlite:///{tmp_path_factory.mktemp('log') / 'mlflow.db'}")
        yield where


@pytest.fixture(scope="session")
def handover() -> Path:
    """A folder in which one environment leaves what the other one takes."""
    return Path(os.environ["SCIENCEBOX_TEST_HANDOVER"])
