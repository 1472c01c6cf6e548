"""Both kernels start as an ordinary user and compute on a CPU, with what the cpu variant left out."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sciencebox_stack.kernel_probe as probe

if TYPE_CHECKING:
    from .conftest import Stack

pytestmark = pytest.mark.stack

PRIVATE = """
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled()
"""

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

ROOT = """
import warnings
warnings.simplefilter("ignore")
import numpy as np, ROOT, uproot
ROOT.RDataFrame(100).Define("x", "double(rdfentry_)").Snapshot("numbers", "numbers.root", ["x"])
with uproot.open("numbers.root") as file:
    assert file["numbers"]["x"].array(library="np").sum() == 4950
histogram = ROOT.RDataFrame("numbers", "numbers.root").Histo1D(("h", "h", 10, 0, 100), "x")
assert histogram.GetEntries() == 100
"""

SPARK = """
import pandas as pd
from pathlib import Path
from pyspark.sql import SparkSession, functions as F
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
events = spark.range(100).withColumn("even", F.udf(lambda number: number % 2 == 0, "boolean")("id"))
events.write.parquet("events")
assert len(pd.read_parquet("events")) == 100
@F.pandas_udf("double")
def half(values: pd.Series) -> pd.Series:
    return values / 2
counted = spark.read.parquet("events").where("even").select(F.sum(half("id")).alias("sum")).toPandas()
assert counted["sum"][0] == 1225
machine = spark.sparkContext._gateway.proc.pid
maps = Path(f"/proc/{machine}/maps").read_text()
loaded = {line.split()[5] for line in maps.splitlines() if ".so" in line}
assert any(path.startswith("/cvmfs/") and path.endswith("/libjvm.so") for path in loaded)
outside = {Path(path).name.split(".")[0] for path in loaded if not path.startswith(("/cvmfs/", "/tmp/"))}
assert outside <= {"libc", "libm", "ld-linux-x86-64", "libdl", "libpthread", "librt", "libnss_files"}, outside
spark.stop()
"""

MXNET = """
import mxnet as mx
from mxnet import autograd, gluon
network = gluon.nn.Dense(1)
network.initialize()
trainer = gluon.Trainer(network.collect_params(), "sgd", {"learning_rate": 0.1})
values = mx.nd.ones((4, 2))
errors = []
for _ in range(2):
    with autograd.record():
        error = (network(values) - 1).square().mean()
    error.backward()
    trainer.step(4)
    errors.append(error.asscalar())
assert errors[1] < errors[0]
"""

# Java is not to make fast what runs for seconds: that took half of them.
BRIEFLY = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
CODE = {"pytorch": TORCH + PRIVATE, "tensorflow": TENSORFLOW + PRIVATE, "root": ROOT + SPARK, "mxnet": MXNET}


def test_a_kernel_starts_trains_and_answers(stack: Stack, environment: str, home: Path) -> None:
    program = Path(probe.__file__).read_text(encoding="utf-8")
    jupyter = str(stack.view / "share/jupyter")
    python = stack.view / environment / "bin" / "python"
    said = stack.run(python, "-c", program, environment, CODE[environment], home=home, JUPYTER_PATH=jupyter, **BRIEFLY)
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


def wheel(folder: Path, name: str, version: str, code: str) -> Path:
    """A package of one module, as an index has it."""
    path, about = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", code)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    path.chmod(0o644)
    return path


def test_a_users_own_packages_are_seen_by_one_environment_and_outlive_the_session(stack: Stack, home: Path) -> None:
    wheels = [wheel(home, "mine", "1.0", ""), wheel(home, "tqdm", "99.0", "__version__ = '99.0'")]
    install = f"python -m pip install --quiet --no-index --no-deps {' '.join(map(str, wheels))}"
    stack.run("sh", "-c", f". {stack.view}/pytorch/setup.sh; {install}", home=home)
    look = "import importlib.util as u, tqdm; print(bool(u.find_spec('mine')), tqdm.__version__)"
    for environment, expected in (("pytorch", "True 99.0"), ("tensorflow", "False 4.70.1")):
        said = stack.run(stack.view / environment / "bin/python", "-c", look, home=home)
        assert said.strip() == expected
    assert {path.name for path in home.iterdir() if path.is_dir()} == {".local"}
