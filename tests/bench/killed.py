"""Trainings in 3D that are killed at random moments, again and again: do they end with the weights of one that is not?

    python -m tests.bench.killed --out RUN    with the stack's PyTorch

Each is a program of its own, ended by SIGKILL wherever it is, also while it writes a checkpoint.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from brainmri.runs import Run
from brainmri.segmentation3d import cohort, samples, sizes
from brainmri.segmentation3d.cases import read_cohort
from brainmri.segmentation3d.objectives import FAMILIES
from brainmri.segmentation3d.patches import Patches
from brainmri.segmentation3d.training import Training
from brainmri.study import hardware

SIZE = replace(sizes.named("smoke"), epochs=40, steps=4)
CASES, KILLS, SEED = 3, 20, 0
BEGUN = "training"


def main() -> None:
    """Train each family undisturbed and disturbed, and write result.json."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.killed", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    parser.add_argument("--train", nargs=2, metavar=("FAMILY", "FOLDER"), help="be one of the programs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.train:
        train(options.out / "cohort", *options.train)
        return
    options.out.mkdir(parents=True)
    cohort.make(options.out / "cohort", cases=CASES, spacing=SIZE.spacing)
    found = {name: study(options.out, family) for family, name in FAMILIES.items()}
    about = {"kills": KILLS, "epochs": SIZE.epochs, "steps": SIZE.steps, "seed": SEED, "hardware": hardware()}
    print(Run(options.out).write_result({"killed": found, **about}))


def study(out: Path, family: str) -> dict[str, Any]:
    """How one family fared. The moments are such that the last kill comes before the end."""
    program, began = begin(out, family, "whole"), time.monotonic()
    program.communicate()
    seconds = time.monotonic() - began
    chance, at = random.Random(SEED), []
    for _ in range(KILLS):
        program = begin(out, family, "parts")
        time.sleep(chance.uniform(0, 1.2 * seconds / KILLS))
        if program.poll() is not None:
            raise SystemExit(f"{family} ended after {len(at)} kills; give it more epochs")
        program.kill()
        program.communicate()
        at.append(len(Run(out / family / "parts").read_history()))
    begin(out, family, "parts").communicate()
    whole, parts = (weights(out / family / name) for name in ("whole", "parts"))
    same = whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    print(f"{family}: {'the same weights' if same else 'OTHER WEIGHTS'}; killed in epochs {at}", flush=True)
    return {"same": same, "epochs_done": at, "tensors": len(whole)}


def begin(out: Path, family: str, name: str) -> subprocess.Popen[str]:
    """A program that has begun to train."""
    folder = out / family / name
    command = [sys.executable, "-m", "tests.bench.killed", "--out", str(out), "--train", family, str(folder)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert program.stdout
    if program.stdout.readline().strip() != BEGUN:
        raise SystemExit(f"{family} could not be trained")
    return program


def train(data: Path, family: str, folder: str) -> None:
    """One program: begin, or go on with what is in the folder."""
    run = Run(Path(folder))
    run.folder.mkdir(parents=True, exist_ok=True)
    loaded = samples.load(read_cohort(data).cases, SIZE.spacing)
    trained = Training(sizes.learner(family, SIZE, "ce + dice", SEED), sizes.plan(SIZE, SEED), run)
    print(BEGUN, flush=True)
    trained.fit(Patches(loaded, SIZE.edge, SEED))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """What the last checkpoint holds of the networks."""
    (last,) = folder.glob(f"epoch-{SIZE.epochs:04d}.pt")
    stored: dict[str, torch.Tensor] = torch.load(last, weights_only=True)["family"]
    return stored


if __name__ == "__main__":
    main()
