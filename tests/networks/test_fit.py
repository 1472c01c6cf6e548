"""Trainings: that they learn, that they go on where they were interrupted, and that a full disk spoils nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from brainmri import fit
from brainmri.augment import augment
from brainmri.fit import Recipe, Training
from brainmri.runs import Run
from brainmri.unet import UNet

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = Recipe(epochs=4, batch=4, rate=1e-2)


def squares(count: int = 8, edge: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares among noise, and where they are."""
    random = np.random.default_rng(0)
    masks = np.zeros((count, 1, edge, edge), dtype=np.float32)
    for mask in masks:
        top, left = random.integers(4, edge - 16, size=2)
        mask[0, top : top + 10, left : left + 10] = 1
    return (3 * masks + 0.3 * random.normal(size=masks.shape)).astype(np.float32), masks


def training(folder: Path, recipe: Recipe = RECIPE) -> Training:
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    return Training(UNet(filters=4, levels=3), recipe, Run(folder))


def test_it_learns_one_case_by_heart(tmp_path: Path) -> None:
    images, masks = squares(1)
    trained = training(tmp_path, replace(RECIPE, epochs=60))
    first, *_, last = trained.fit(images, masks, (images, masks))
    assert fit.soft_dice(trained.model, images, masks) > 0.9
    for of in ("", "val_"):  # curves of loss and Dice, in training and validation
        assert last[f"{of}loss"] < first[f"{of}loss"]
        assert 1 >= last[f"{of}dice"] > max(first[f"{of}dice"], 0.5)


def test_the_dice_of_a_batch_is_that_of_its_images() -> None:
    found = torch.zeros(3, 1, 4, 4)
    found[0, 0, :2], found[1, 0, 0, 0] = 1, 1
    truth = torch.zeros(3, 1, 4, 4)
    truth[0, 0, 1:3] = 1
    assert fit.plain_dice(found - 0.5, truth).tolist() == [0.5, 0.0, 1.0]


@pytest.mark.parametrize("watched", [False, True])
def test_it_goes_on_where_it_was_interrupted_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    images, masks = squares()
    checked = (images, 1 - masks if watched else masks)  # what is watched gets worse the more is learnt
    monkeypatch.setattr(fit, "STORE_EVERY_S", -1)
    recipe = replace(RECIPE, epochs=9, patience=3, plateau=1) if watched else RECIPE
    whole = training(tmp_path / "whole", recipe)
    whole.fit(images, masks, checked)

    def die(done: int, _total: int, _words: str) -> None:
        if done == 5:  # in the third epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "parts", recipe).fit(images, masks, checked, die)
    again = training(tmp_path / "parts", recipe)
    assert len(again.history) == 2
    resumed = again.fit(images, masks, checked)
    assert [{**epoch, "seconds": 0} for epoch in resumed] == [{**epoch, "seconds": 0} for epoch in whole.history]
    assert [path.name for path in sorted((tmp_path / "parts").iterdir())] == [
        "epoch-0004.pt",
        "hardware.json",
        "history.json",
    ]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    if watched:  # it stopped, and is what it was after its best epoch
        assert fit.soft_dice(again.model, *checked) == max(epoch["val_dice"] for epoch in resumed)
        assert training(tmp_path / "parts", recipe).fit(images, masks, checked) == resumed


def test_the_rate_falls_where_nothing_gets_better(tmp_path: Path) -> None:
    images, masks = squares()
    trained = training(tmp_path, replace(RECIPE, epochs=3, plateau=1))
    trained.fit(images, masks, (images, np.zeros_like(masks)))
    (group,) = trained._optimiser.param_groups
    assert group["lr"] == pytest.approx(RECIPE.rate / 100)


def test_without_a_validation_set_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need a validation set"):
        training(tmp_path, replace(RECIPE, patience=1)).fit(*squares())


def test_a_complete_training_is_not_repeated(tmp_path: Path) -> None:
    images, masks = squares()
    history = training(tmp_path).fit(images, masks)
    seen: list[int] = []
    assert training(tmp_path).fit(images, masks, on_progress=lambda done, *_: seen.append(done)) == history
    assert seen == [8]  # it says that it is done


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    target = tmp_path / "epoch-0001.pt"
    fit.save({"good": torch.ones(1)}, target)

    class Full:
        def __reduce__(self) -> tuple[object, ...]:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fit.save({"bad": Full()}, target)
    assert torch.load(target, weights_only=True) == {"good": torch.ones(1)}
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-0001.pt"]


@pytest.mark.parametrize(("mib", "fits"), [(750, False), (1024, True)])
def test_a_batch_that_does_not_fit_the_gpu_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mib: int, fits: bool
) -> None:
    """What CUDA takes for itself is nearly all that so small a network needs."""
    images, masks = squares()
    monkeypatch.setattr("brainmri.preflight.memory", lambda: mib * 1024**2)
    if fits:
        training(tmp_path).fit(images, masks)
    else:
        with pytest.raises(MemoryError, match=r"GiB, the GPU has 0\.7 GiB\. .* A smaller size takes less, too\."):
            training(tmp_path).fit(images, masks)
    assert (tmp_path / "history.json").exists() == fits


def test_a_training_that_diverges_is_stopped(tmp_path: Path) -> None:
    images, masks = squares()
    with pytest.raises(ValueError, match="lower the learning rate"):
        training(tmp_path).fit(np.full_like(images, np.nan), masks)


def test_an_image_is_looked_at_in_several_sizes_and_every_answer_lies_where_the_image_does() -> None:
    class Bright(torch.nn.Module):
        """Calls tumour what is bright."""

        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []
            self.weight = torch.nn.Parameter(torch.tensor(10.0))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            self.sizes.append(image.shape[-1])
            return self.weight * (image - 1.5)

    images, masks = squares(2, edge=128)
    model = Bright()
    found = fit.predict(model, images)
    assert model.sizes == [112, 128, 144]
    assert ((found > 0.5) == (masks > 0.5)).mean() > 0.98


def test_image_and_mask_are_changed_alike() -> None:
    _, masks = squares(16)
    random = torch.Generator().manual_seed(1)
    mask = torch.from_numpy(masks)
    seen, moved = augment(5 * mask, mask, random)
    assert not torch.equal(moved, mask)
    inside = [image[where > 0].mean() - image[where == 0].mean() for image, where in zip(seen, moved, strict=True)]
    assert min(inside) > 1
