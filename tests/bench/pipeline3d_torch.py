"""How fast a 3D U-Net is fed and trained, by our pipeline or by the one of MONAI's BraTS tutorial. Runs in the stack.

    python pipeline3d_torch.py draw FOLDER            SYNTHETIC cases with voxels of 1 mm
    python pipeline3d_torch.py KIND FOLDER            one line of JSON

An epoch has a patch of every case. Network, loss, optimiser, batch and patch are the same; what differs is how patches
come from files to the network, and there we change more: MONAI's are cropped, mirrored and lit otherwise, ours turned
and scaled as well.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from brainmri.fit import best_device, hardware
from brainmri.segmentation3d import cohort as brains
from brainmri.segmentation3d import samples, sizes
from brainmri.segmentation3d.cases import Cohort, read_cohort
from brainmri.segmentation3d.objectives import one_hot
from brainmri.segmentation3d.patches import Patches
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Batches = Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]]

CASES, EPOCHS = 8, 2
SIZE = replace(sizes.named("quick"), spacing=1.0, cases=CASES)
WATCH_S = 0.2


def main() -> None:
    """Draw, or measure one kind."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    if kind == "draw":
        brains.make(folder, cases=CASES, spacing=SIZE.spacing)
        return
    torch.manual_seed(0)
    feeds = {"ours": ours, "tutorial": tutorial, "cached": partial(tutorial, cached=True)}
    device, peak = best_device(), Peak()
    began = time.perf_counter()
    batches = feeds[kind](read_cohort(folder), device)
    ready = time.perf_counter() - began
    print(json.dumps({"ready_s": ready, **measured(batches, device), "peak_bytes": peak.end(), "hardware": hardware()}))


def ours(cohort: Cohort, device: torch.device) -> Batches:
    """What a study does: every case in memory on the network's grid, patches changed a batch at a time."""
    patches = Patches(samples.load(cohort.cases, SIZE.spacing), SIZE.edge, 0)
    steps = CASES // SIZE.batch
    numbers = iter(range(10**9))

    def epoch() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for _ in range(steps):
            images, labels = patches.batch(next(numbers), SIZE.batch, device)
            yield images, one_hot(labels)

    return epoch


def tutorial(cohort: Cohort, device: torch.device, *, cached: bool = False) -> Batches:
    """The transforms of MONAI's tutorial in its order, a process a core; `cached` keeps what comes before chance."""
    from monai import transforms as mt
    from monai.data import CacheDataset, DataLoader, Dataset

    both = ["image", "label"]
    transform = mt.Compose([
        mt.LoadImaged(both),
        mt.EnsureChannelFirstd("image"),
        mt.EnsureTyped(both),
        mt.ConvertToMultiChannelBasedOnBratsClassesd("label"),
        mt.Orientationd(both, axcodes="RAS", labels=None),
        mt.Spacingd(both, pixdim=(SIZE.spacing,) * 3, mode=("bilinear", "nearest")),
        mt.RandSpatialCropd(both, roi_size=(SIZE.edge,) * 3, random_size=False),
        *(mt.RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)),
        mt.NormalizeIntensityd("image", nonzero=True, channel_wise=True),
        mt.RandScaleIntensityd("image", factors=0.1, prob=1.0),
        mt.RandShiftIntensityd("image", offsets=0.1, prob=1.0),
    ])  # fmt: skip
    files = [{"image": [path for path, _ in case.images.values()], "label": case.mask} for case in cohort]
    kept = CacheDataset(files, transform, progress=False) if cached else Dataset(files, transform)
    workers = len(os.sched_getaffinity(0))
    loader = DataLoader(kept, batch_size=SIZE.batch, shuffle=True, num_workers=workers)

    def epoch() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in loader:
            yield tuple(batch[name].as_tensor().to(device).float() for name in both)

    return epoch


def measured(batches: Batches, device: torch.device) -> dict[str, float]:
    """Seconds of an epoch, how much of them the network waits, and how much is not spent in convolutions."""
    learner = sizes.learner("segmentation3d", SIZE, "dice", 0).to(device)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    waited, learnt, seconds = 0.0, 0.0, []
    for number in range(1 + EPOCHS):
        began = asked = now(device)
        for images, truth in batches():
            given = now(device)
            learner.learn(images, truth, mixed)
            if number:  # the first warms the caches
                waited += given - asked
                learnt += now(device) - given
            asked = now(device)
        seconds.append(now(device) - began)
    total = sum(seconds[1:])
    images, truth = next(iter(batches()))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    began = now(device)
    with profile(activities=activities) as seen:
        learner.learn(images, truth, mixed)
        step = now(device) - began
    of = f"self_{'device' if device.type == 'cuda' else 'cpu'}_time_total"
    spent = sum(getattr(one, of) for one in seen.key_averages() if one.key.startswith("aten::") and "conv" in one.key)
    convolving = spent / 1e6 / step
    return {"epoch_s": total / EPOCHS, "waiting": waited / total, "not_convolving": 1 - convolving * learnt / total}


def now(device: torch.device) -> float:
    """Seconds, when a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Peak:
    """The most memory that this process and those it started had at once, what they share counted once (PSS)."""

    def __init__(self) -> None:
        self._most, self._over = 0, threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()

    def end(self) -> int:
        """Bytes."""
        self._over.set()
        self._watch.join()
        return self._most

    def _look(self) -> None:
        while not self._over.wait(WATCH_S):
            self._most = max(self._most, sum(map(_pss, [os.getpid(), *_children()])))


def _children() -> list[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return [int(number) for task in tasks for number in task.read_text().split()]


def _pss(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
