"""Runs the other files of this folder with the stack's PyTorch, and holds PyTorch's U-Net against Keras'."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT, STACK_TOOL, stack_folder

HERE = Path(__file__).parent
# pytest itself is not in the stack: it comes from where this runs, behind everything that is in the stack.
RUN = "import sys; sys.path.append(sys.argv[1]); import pytest; sys.exit(pytest.main(sys.argv[2:]))"
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
READ = """
import numpy as np, sys
from brainmri.quiet import native_notes_hidden
with native_notes_hidden():
    from brainmri.unet_keras import build, copy_weights
talk = build(64)
learnt = sum(int(np.prod(weight.shape)) for weight in talk.trainable_weights)
print(talk.count_params(), learnt)
stored = dict(np.load(sys.argv[1]))
image, answer = (stored.pop(name).transpose(0, 2, 3, 1) for name in ("image", "answer"))
model = build(filters=4, levels=3)
copy_weights(stored, model)
print(float(np.abs(model.predict(image, verbose=0) - answer).max()))
"""
TRAIN = """
import json, numpy as np, sys
from pathlib import Path
from brainmri.quiet import native_notes_hidden
with native_notes_hidden():
    import keras
    from keras import layers
    from brainmri import train
from brainmri.runs import open_run
cells = json.loads(Path("notebooks/11_classification_2d.ipynb").read_text())["cells"]
DARKEST, BRIGHTEST = -3.0, 4.0
exec("".join(next(cell for cell in cells if cell["id"] == "11-22")["source"]))
keras.utils.set_random_seed(0)
model = build(64, 8)
model.compile("adam", "binary_crossentropy")
slices = np.random.default_rng(0).normal(size=(8, 64, 64, 1)).astype("float32")
model.fit(slices, np.arange(8) % 2, epochs=2, verbose=0)
run = open_run("11", {"task": "classification in Keras"}, Path(sys.argv[1]))
train.store(run, model, {
    "task": "classification in Keras", "label": "glioma", "threshold": 0.25, "size": {"pixels": 64}, "version": "0",
    "data_name": "SYNTHETIC DATA: noise", "made": "2026-01-01",
})
run.write_result({"auc": 0.5})
np.savez(Path(sys.argv[1], "asked.npz"), slices=slices, answer=model.predict(slices, verbose=0))
print(run.folder)
"""
ASK = """
import numpy as np, sys
from pathlib import Path
from brainmri import export
asked = np.load(sys.argv[2])
found = export.answer(Path(sys.argv[1]), asked["slices"].transpose(0, 3, 1, 2).copy())
print(float(np.abs(found - asked["answer"]).max()))
import onnx
print(*(f"{one.key}={one.value}" for one in onnx.load(sys.argv[1]).metadata_props), sep="; ")
"""

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(bool(find_spec("torch")), reason="this runs the others, and is not run by itself"),
]


def run(environment: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of the stack with the notebooks' package of the checkout."""
    built = stack_folder()
    found = sorted(built.glob(f"lcg/views/*/*/{environment}"), key=lambda path: path.stat().st_mtime)
    if not found or os.geteuid() != 0:
        pytest.skip("no software stack is built, or this is not root: run `make test-tools` as root")
    inside = Path("/cvmfs/sciencebox.local") / found[-1].relative_to(built) / "bin/python3"
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPATH": str(ROOT / "notebooks"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [STACK_TOOL, "--enter", inside, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environ, cwd=ROOT)


def test_networks_losses_and_trainings_are_as_they_should_be() -> None:
    modules = next(path for path in sys.path if path.endswith("site-packages"))
    files = sorted(str(path) for path in HERE.glob("test_[!i]*.py"))
    done = run("pytorch", "-c", RUN, modules, "-q", "--tb=short", "--durations=5", "-p", "no:cacheprovider", *files)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_the_u_net_of_the_talk_is_the_same_in_keras(tmp_path: Path) -> None:
    stored = tmp_path / "weights.npz"
    written = run("pytorch", "-c", WRITE, str(stored))
    assert written.returncode == 0, written.stderr
    read = run("tensorflow", "-c", READ, str(stored))
    assert read.returncode == 0, read.stderr
    counts, difference = read.stdout.splitlines()[-2:]
    assert counts == "34535745 34523969"
    assert float(difference) < 1e-5


def test_a_network_of_the_notebook_in_keras_answers_in_other_programs_as_in_tensorflow(tmp_path: Path) -> None:
    trained = run("tensorflow", "-c", TRAIN, str(tmp_path))
    assert trained.returncode == 0, trained.stderr
    folder, written = trained.stdout.splitlines()[-1], str(tmp_path / "network.onnx")
    exported = run("pytorch", "-m", "brainmri.cli", "export", folder, "--to", written)
    assert exported.returncode == 0, exported.stderr
    asked = run("pytorch", "-c", ASK, written, str(tmp_path / "asked.npz"))
    assert asked.returncode == 0, asked.stderr
    difference, told = asked.stdout.splitlines()[-2:]
    assert float(difference) < 1e-5
    for fact in ('labels=["glioma"]', "threshold=0.25", "synthetic=yes", "standard deviation"):
        assert fact in told
    predicted = run(
        "pytorch", "-m", "brainmri.cli", "predict", folder, "--input", str(tmp_path), "--out", str(tmp_path / "x")
    )
    assert predicted.returncode == 2
    assert "This network was trained in Keras: ask it in its notebook" in predicted.stderr
