"""Several processes that share a training, here two on the CPU: slopes of one, written once, stopped together."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from brainmri import tracking
from brainmri.cli import main
from brainmri.commands import claim
from brainmri.runs import Run
from brainmri.segmentation3d import cohort, samples, sizes, study, workers
from brainmri.segmentation3d.cases import read_cohort
from brainmri.segmentation3d.networks import VaeUNet
from brainmri.segmentation3d.objectives import FAMILIES, Family, one_hot
from brainmri.segmentation3d.patches import Patches
from brainmri.segmentation3d.workers import Worker

from tests.networks import failing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = replace(sizes.SIZES["smoke"], edge=16)
CPU, FULL = torch.device("cpu"), torch.autocast("cpu", torch.bfloat16, enabled=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "data"
    cohort.make(folder, cases=3, spacing=8.0)
    return folder


def family(name: str) -> Family:
    """A new family without what chance does in it: processes draw numbers of their own."""
    learner = sizes.learner(name, SMALL, "ce + dice", seed=0)
    if isinstance(learner.segmenter, VaeUNet):
        learner.segmenter.dropout_prob = None
        torch.nn.init.zeros_(learner.segmenter.vae_fc2.weight)
        torch.nn.init.constant_(learner.segmenter.vae_fc2.bias, -30.0)  # a code that hardly deviates
    return learner


def slopes(worker: Worker, data: Path, folder: Path) -> None:
    """Store the slopes of one step of each family, as its optimisers get them."""
    cut = Patches(samples.load(read_cohort(data).cases, 8.0), SMALL.edge, 0)
    images, labels = cut.batch(0, 2, CPU, worker.part(2))
    found = {}
    for name in FAMILIES:
        learner = family(name)
        seen: list[torch.Tensor] = []
        for optimiser in learner.optimisers:
            optimiser.register_step_pre_hook(
                lambda one, *_, seen=seen: seen.extend(
                    weight.grad.clone() for group in one.param_groups for weight in group["params"]
                )
            )
        learner.share(worker)
        noted = learner.learn(images, one_hot(labels), FULL)
        learner.share(Worker())
        found[name] = seen, float(noted["loss"])
    if worker.first:
        torch.save(found, folder / f"slopes-{worker.count}.pt")


def take_part_and_tell(worker: Worker, bars: workers.Bars, whole: study.Study) -> None:
    """What each process of a shared training does, and slopes before that."""
    slopes(worker, whole.cohort.root, whole.folder.parent)
    study.take_part(worker, bars, whole)


def test_one_process_that_fails_ends_both_and_that_is_said() -> None:
    heard: list[tuple[str, int]] = []
    with pytest.raises(workers.WorkerError, match=r"process 2 of 2 failed.*the cable was pulled.*run the same again"):
        workers.run(2, failing.fail, 4, lambda title: lambda done, *_: heard.append((title, done)))
    assert heard[:3] == [("training", 0), ("training", 1), ("training", 2)]  # of the first process alone


def test_two_processes_go_on_with_a_training_and_have_the_slopes_of_one_with_the_whole_batch(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(title: str) -> Callable[..., None]:
        def show(done: int, *_: object) -> None:
            if title.startswith("training") and done == 3:
                raise KeyboardInterrupt

        return show

    run = tmp_path / "run"
    alone = study.Study(read_cohort(data), "gan", "smoke", run, bars=dies)
    claim(run, alone.settings, force=False)
    with pytest.raises(KeyboardInterrupt):
        alone.run()
    first = Run(run).read_history()
    assert len(first) == 1
    monkeypatch.setattr(study, "take_part", take_part_and_tell)
    capfd.readouterr()

    arguments = ["train", "gan", "--data", str(data), "--out", str(run), "--size", "smoke"]
    assert main([*arguments, "--devices", "2"]) == 0
    said, complaints = capfd.readouterr()  # of all processes
    assert "Warning" not in complaints
    assert said.count("2 processes share each batch, on the cores of this session.") == 1
    assert said.count("Stored in") == 1
    names = ["epoch-0002.pt", "hardware.json", "history.json", "model.json", "model.pt", "result.json", "settings.json"]
    assert sorted({path.name for path in run.iterdir()} - {tracking.MARK}) == names
    assert Run(run).read_history()[:1] == first
    assert json.loads((run / "result.json").read_text())["steps"] == 4
    assert main(arguments) == 0  # complete: on one device it is the same training

    by_torchrun = tmp_path / "by-torchrun"
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "brainmri.cli")
    renamed = [str(by_torchrun) if one == str(run) else one for one in arguments]
    done = subprocess.run([sys.executable, *launch, *renamed], capture_output=True, text=True, check=True)
    assert done.stdout.count("2 processes share each batch, on the cores of this session.") == 1
    assert done.stdout.count("Stored in") == 1
    told = Run(by_torchrun).read_history()
    assert told[0]["loss"] == pytest.approx(first[0]["loss"], rel=1e-3)  # of the whole batch: it was shared
    assert len(told) == 2

    slopes(Worker(), data, tmp_path)
    one_process, two = (torch.load(tmp_path / f"slopes-{count}.pt") for count in (1, 2))
    for name in FAMILIES:
        (one, loss), (other, shared_loss) = one_process[name], two[name]
        assert shared_loss == pytest.approx(loss, rel=1e-5)
        assert len(one) == len(other) > 20
        longest = max(float(slope.norm()) for slope in one)
        for slope, shared in zip(one, other, strict=True):
            assert torch.allclose(slope, shared, rtol=1e-3, atol=1e-5 * longest)


def test_batches_grow_until_each_device_has_as_many_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    size = replace(SMALL, batch=2)
    assert sizes.shared(size, 2) == (size, "")
    larger, said = sizes.shared(size, 3)
    assert larger.batch == 3
    assert said == "Batches of 3 patches, so that each device has 1."
    with pytest.raises(ValueError, match="3 workers cannot share 4 patches"):
        Worker(0, 3).part(4)
    four = replace(size, batch=8, filters=8, edge=32)
    memory = int(sizes.need("segmentation3d", replace(four, batch=1)).total / 0.9) + 1
    assert sizes.fitting("segmentation3d", four, memory, 4)[0].batch == 4
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="this session holds 2 GPUs, not 4"):
        sizes.for_this_session("vae", "smoke", 4)


def test_what_torchrun_cannot_share_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    arguments = ["--data", str(data), "--out", str(tmp_path / "run"), "--size", "smoke"]
    assert main(["train", "gan", *arguments]) == 2
    assert "torchrun started 4 processes and 2 of them here" in capsys.readouterr().err
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert main(["train", "gan", *arguments, "--devices", "3"]) == 2
    assert "leave --devices out" in capsys.readouterr().err
    assert main(["train", "classification", *arguments]) == 2
    assert "torchrun is for the networks in 3D" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "devices", "said"),
    [("classification", "2", "--devices is for the networks in 3D"), ("vae", "0", "0 devices cannot train anything")],
)
def test_devices_that_make_no_sense_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, devices: str, said: str
) -> None:
    assert main(["train", task, "--data", str(data), "--out", str(tmp_path / "run"), "--devices", devices]) == 2
    assert said in capsys.readouterr().err
