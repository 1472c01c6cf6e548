"""Runs the other files of this folder in the stack's environments."""

from __future__ import annotations

import os
import subprocess
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT, STACK_TOOL, stack_folder

HERE = Path(__file__).parent
IN_TENSORFLOW = "test_keras.py"
# pytest is not in the stack: it comes from where this runs, behind everything that is in the stack. Alone, for with
# what else is installed beside it libraries would load more than they do for a user.
PYTEST = ("pytest", "pluggy", "iniconfig")
RUN = "import sys; sys.path.append(sys.argv[1]); import pytest; sys.exit(pytest.main(sys.argv[2:]))"
OPTIONS = (
    "-q", "--tb=short", "--durations=5", "--import-mode=importlib", "-p", "no:cacheprovider",
    "-c", os.devnull, f"--rootdir={ROOT}", f"--confcutdir={HERE}",
    "-W", "error", "-W", "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)  # fmt: skip
WRITE = """
import numpy as np, sys, torch
from brainmri.unet import UNet
torch.manual_seed(0)
model = UNet(filters=4, levels=3)
image = torch.randn(2, 1, 32, 32)
for _ in range(3):  # so that the normalisations have something to remember
    model(image)
state = {name: value.numpy() for name, value in model.eval().state_dict().items()}
with torch.inference_mode():
    np.savez(sys.argv[1], image=image.numpy(), answer=torch.sigmoid(model(image)).numpy(), **state)
"""

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        bool(find_spec("torch") or find_spec("tensorflow")), reason="this runs the others, and is not run by itself"
    ),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pytest and nothing else."""
    folder = tmp_path_factory.mktemp("pytest")
    for name in PYTEST:
        package = metadata.distribution(name)
        for part in {path.parts[0] for path in package.files or () if path.parts[0] != ".."}:
            (folder / part).symlink_to(Path(str(package.locate_file(part))).resolve())
    return folder


@pytest.fixture(scope="module")
def handover(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one environment leaves what the other one takes."""
    return tmp_path_factory.mktemp("handover")


def run(environment: str, handover: Path, *arguments: str) -> None:
    """A Python of the stack with the notebooks' package of the checkout."""
    built = stack_folder()
    found = sorted(built.glob(f"lcg/views/*/*/{environment}"), key=lambda path: path.stat().st_mtime)
    if not found or os.geteuid() != 0:
        pytest.skip("no software stack is built, or this is not root: run `make test-tools` as root")
    inside = Path("/cvmfs/sciencebox.local") / found[-1].relative_to(built) / "bin/python3"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPATH": str(ROOT / "notebooks"),
        "SCIENCEBOX_TEST_HANDOVER": str(handover),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [STACK_TOOL, "--enter", inside, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_keras_does_as_it_should_in_tensorflow(handover: Path, alone: Path) -> None:
    run("pytorch", handover, "-c", WRITE, str(handover / "unet.npz"))
    run("tensorflow", handover, "-c", RUN, str(alone), *OPTIONS, str(HERE / IN_TENSORFLOW))


def test_networks_losses_and_trainings_are_as_they_should_be(handover: Path, alone: Path) -> None:
    files = sorted(str(path) for path in HERE.glob("test_[!i]*.py") if path.name != IN_TENSORFLOW)
    run("pytorch", handover, "-c", RUN, str(alone), *OPTIONS, *files)
