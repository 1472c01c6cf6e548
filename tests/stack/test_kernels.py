"""Both kernels start as an ordinary user and compute on a CPU, with what the cpu variant left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sciencebox_stack.kernel_probe as probe

if TYPE_CHECKING:
    from .conftest import Stack

pytestmark = pytest.mark.stack

TORCH = """
import monai, torch, torchio
net = monai.networks.nets.UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,))
optimizer = torch.optim.Adam(net.parameters())
volume, mask = torch.rand(1, 1, 16, 16, 16), torch.randint(0, 2, (1, 1, 16, 16, 16))
for _ in range(2):
    optimizer.zero_grad()
    loss = monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)(net(volume), mask)
    loss.backward()
    optimizer.step()
assert torch.isfinite(loss)
matrix = torch.rand(8, 8, dtype=torch.float64)
u, s, v = torch.linalg.svd(matrix)
assert torch.allclose(u @ torch.diag(s) @ v, matrix)
assert torch.fft.ifft(torch.fft.fft(matrix)).real.allclose(matrix)
assert not torch.cuda.is_available()
"""

TENSORFLOW = """
import keras, numpy as np, tensorflow as tf
model = keras.Sequential([
    keras.Input((16, 16, 1)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dense(1, activation="sigmoid"),
])
model.compile("adam", "binary_crossentropy")
history = model.fit(np.random.rand(8, 16, 16, 1), np.arange(8) % 2, epochs=2, verbose=0)
assert np.isfinite(history.history["loss"]).all()
model.save("model.keras")
assert keras.saving.load_model("model.keras").count_params() == model.count_params()
assert tf.config.list_physical_devices("GPU") == []
"""

CODE = {"pytorch": TORCH, "tensorflow": TENSORFLOW}


def test_a_kernel_starts_trains_and_answers(stack: Stack, environment: str, home: Path) -> None:
    program = Path(probe.__file__).read_text(encoding="utf-8")
    jupyter = str(stack.view / "share/jupyter")
    python = stack.view / environment / "bin" / "python"
    said = stack.run(python, "-c", program, environment, CODE[environment], home=home, JUPYTER_PATH=jupyter)
    assert said == "2"


def test_the_notebooks_package_is_there_with_its_command(stack: Stack, environment: str, home: Path) -> None:
    where = stack.run(_python(stack, environment), "-c", "import brainmri; print(brainmri.__file__)", home=home)
    assert where.startswith(f"{stack.view}/{environment}/")
    assert "usage: brainmri" in stack.run(_python(stack, environment).with_name("brainmri"), "--help", home=home)


def test_what_is_installed_is_what_the_manifest_lists(stack: Stack, environment: str, home: Path) -> None:
    code = "import importlib.metadata as m\nfor d in m.distributions(): print(d.name, d.version)"
    lines = stack.run(_python(stack, environment), "-c", code, home=home).splitlines()
    manifest = stack.here(stack.view).resolve() / f"LCG_externals_{stack.view.name}.txt"
    rows = [line.split("; ") for line in manifest.read_text().splitlines()[3:]]
    of_this = [row for row in rows if f"/releases/{environment}/" in row[3] or row[3].endswith(f"/{environment}")]
    assert sorted(map(_normal, lines)) == sorted(_normal(f"{row[0]} {row[2]}") for row in of_this)


def test_a_python_of_the_session_cannot_reach_into_a_kernel(stack: Stack, environment: str, home: Path) -> None:
    (home / "numpy.py").write_text("raise RuntimeError('taken from the session')")
    program = Path(probe.__file__).read_text(encoding="utf-8")
    said = stack.run(
        *(_python(stack, environment), "-I", "-c", program, environment, "import sys; sys.path.remove('')"),
        home=home,
        JUPYTER_PATH=str(stack.view / "share/jupyter"),
        PYTHONPATH=str(home),
    )
    assert said == "2"


def _python(stack: Stack, environment: str) -> Path:
    return stack.view / environment / "bin" / "python"


def _normal(distribution: str) -> str:
    name, version = distribution.split()
    return f"{re.sub('[-_.]+', '-', name).lower()} {version}"
