"""The three families in 3D: shapes, slopes, one case learnt by heart, and answers for whole volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from brainmri.runs import Run
from brainmri.segmentation3d import inference, measure, objectives, sizes
from brainmri.segmentation3d.cases import CORE, OEDEMA, Case
from brainmri.segmentation3d.networks import CLASSES, Critic, Regularised, VaeUNet, unet
from brainmri.segmentation3d.patches import Patches, changed
from brainmri.segmentation3d.samples import Sample
from brainmri.segmentation3d.training import Plan, Training

SMALL = replace(sizes.SIZES["smoke"], edge=16, epochs=1, steps=30, rate=2e-2)
FULL = torch.autocast("cpu", torch.bfloat16, enabled=False)


def sample(edge: int = 24) -> Sample:
    """A ball of brain, in it oedema and a core, each to be seen in a modality of its own."""
    places = np.indices((edge,) * 3) - (edge - 1) / 2
    brain = np.sqrt((places**2).sum(axis=0)) < edge / 2 - 1
    distance = np.sqrt(((places - 2) ** 2).sum(axis=0))
    labels = np.where(distance < 3.5, CORE, np.where(distance < 6, OEDEMA, 0)).astype(np.uint8)
    images = np.random.default_rng(0).normal(0.1, 0.1, (4, edge, edge, edge)).astype(np.float32)
    images[1] += 2 * (labels == CORE)
    images[3] += 2 * (labels == OEDEMA)
    case = Case("one", "one", {modality: (Path("x"), None) for modality in ("t1", "t1ce", "t2", "flair")}, None)
    one, zero = np.ones(3), np.zeros(3)
    straight = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    return Sample(case, images * brain, labels, 1.0, one, zero, (edge,) * 3, straight, np.eye(4))


def batch(count: int = 2, edge: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = Patches([sample()], edge, 0).batch(0, count, torch.device("cpu"))
    return images, objectives.one_hot(labels)


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_it_answers_for_every_voxel_of_any_patch(family: str) -> None:
    model = sizes.segmenter(family, SMALL).eval()
    assert model(torch.zeros(2, 4, 16, 24, 8)).shape == (2, CLASSES, 16, 24, 8)


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_every_weight_has_a_slope(family: str) -> None:
    learner = sizes.learner(family, SMALL, "ce + dice", seed=0)
    learner.learn(*batch(), FULL)
    without = [name for name, weight in learner.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A bias before a normalisation changes nothing: its slope is rounding at most.
    assert [name for name in without if not name.endswith("bias")] == []


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_it_learns_one_case_by_heart(family: str, tmp_path: Path) -> None:
    one = sample()
    trained = Training(sizes.learner(family, SMALL, "ce + dice", seed=0), Plan(1, 60, 2), Run(tmp_path))
    trained.fit(Patches([one], 16, 0))
    found = inference.answer(trained.family.segmenter, one.images, 16)
    assert one.labels is not None
    assert measure.mean_dice(measure.labelled(found.probability), one.labels) > 0.7


def test_deep_supervision_asks_for_coarser_answers_while_it_learns() -> None:
    model = unet(4, levels=4, deep_supervision=True)
    assert model(torch.zeros(1, 4, 16, 16, 16)).shape == (1, 3, CLASSES, 16, 16, 16)
    assert model.eval()(torch.zeros(1, 4, 16, 16, 16)).shape == (1, CLASSES, 16, 16, 16)
    images, truth = batch()
    learner = objectives.Supervised(unet(4, 4, deep_supervision=True), "dice", rate=1e-3, weight_decay=0.0)
    noted = learner.learn(images, truth, FULL)
    assert 0 < float(noted["loss"]) < 1.2


def test_the_generator_that_learns_alone_is_that_of_the_gan_whatever_the_size() -> None:
    for size in sizes.SIZES.values():
        narrow = replace(size, filters=4)
        alone = sizes.learner("segmentation3d", sizes.without_critic(narrow), "dice", seed=0).segmenter.state_dict()
        generator = sizes.learner("gan", narrow, "dice", seed=0).segmenter.state_dict()
        assert alone.keys() == generator.keys()
        assert all(torch.equal(alone[name], generator[name]) for name in alone)


def test_the_autoencoder_changes_no_answer_and_is_left_out_without_loss() -> None:
    torch.manual_seed(0)
    model = VaeUNet(16, 8, (1, 2, 2)).eval()
    image = torch.randn(1, 4, 32, 16, 16)
    with torch.inference_mode():
        answer = model(image)
        assert torch.equal(model.without_autoencoder()(image), answer)
        for name, weight in model.named_parameters():
            if name.startswith("vae_"):
                weight.fill_(7.0)
        assert torch.equal(model(image), answer)


def test_the_terms_of_the_autoencoder_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    model = VaeUNet(16, 8, (1, 1, 1), dropout=0.0).train()
    image = torch.randn(2, 4, 16, 16, 16)
    with torch.no_grad():
        for layer in (model.vae_fc1, model.vae_fc2):
            layer.weight.zero_()
        model.vae_fc1.bias.fill_(2.0)
        model.vae_fc2.bias.fill_(float(np.log(np.e - 1)))  # softplus of it is 1: deviation 1
    answer = model(image)
    assert isinstance(answer, Regularised)
    # mean^2 + variance - log(variance) - 1 = 4 for each of 128 codes, by voxel
    assert float(answer.divergence.detach()) == pytest.approx(128 * 4 / 16**3, rel=1e-4)
    assert answer.reconstruction.shape == ()
    assert model.vae_fc2.bias.requires_grad  # its variance is learnt
    answer.divergence.backward()
    assert model.vae_fc2.bias.grad is not None


def test_the_critic_judges_patches_and_looks_at_the_mri() -> None:
    torch.manual_seed(0)
    critic = Critic(4)
    images, truth = batch(edge=32)
    judged = critic(images, truth)
    assert judged.shape[:2] == (2, 1)
    assert judged[0, 0].numel() > 1
    assert not torch.allclose(judged, critic(images.flip(2), truth))


def test_critic_and_generator_each_learn_from_their_own_loss() -> None:
    learner = sizes.learner("gan", SMALL, "dice", seed=0)
    before = {name: weight.clone() for name, weight in learner.named_parameters()}
    noted = learner.learn(*batch(), FULL)
    assert 0 <= float(noted["critic_accuracy"]) <= 1
    changed_parts = {
        name.split(".")[0] for name, weight in learner.named_parameters() if (weight != before[name]).any()
    }
    assert changed_parts == {"segmenter", "critic"}
    generator, critic = (optimiser.param_groups[0]["lr"] for optimiser in learner.optimisers)
    assert critic < generator


def test_the_l1_of_pix2pix_can_be_added_to_the_dice() -> None:
    _, truth = batch()
    logits = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    dice, both = (objectives.LOSSES[name]()(logits, truth) for name in ("dice", "dice + l1"))
    assert both - dice == pytest.approx(float((logits.softmax(dim=1) - truth).abs().mean()), rel=1e-5)
    noted = sizes.learner("gan", SMALL, "dice + l1", seed=0).learn(*batch(), FULL)
    assert 0 < float(noted["loss"]) < 2


def test_a_patch_shows_small_regions_as_often_as_healthy_tissue() -> None:
    one = sample(edge=40)
    patches = Patches([one], 8, 0)
    shown = [patches.batch(number, 4, torch.device("cpu"))[1] for number in range(40)]
    shares = [float((torch.stack(shown) == region).float().mean()) for region in (CORE, OEDEMA)]
    assert one.labels is not None
    assert shares[0] > 5 * (one.labels == CORE).mean()
    assert shares[1] > 2 * (one.labels == OEDEMA).mean()


def test_a_batch_depends_on_its_number_alone_and_may_be_larger_than_the_volume() -> None:
    device = torch.device("cpu")
    one, other = Patches([sample()], 32, 0), Patches([sample()], 32, 0)
    one.batch(0, 2, device)
    for cut, again in zip(one.batch(5, 2, device), other.batch(5, 2, device), strict=True):
        assert torch.equal(cut, again)
        assert cut.shape[-3:] == (32, 32, 32)
    assert not torch.equal(one.batch(5, 2, device)[0], one.batch(6, 2, device)[0])


def test_image_and_labels_are_changed_alike() -> None:
    one = sample()
    assert one.labels is not None
    images = torch.from_numpy(one.images).repeat(4, 1, 1, 1, 1)
    labels = torch.from_numpy(one.labels).repeat(4, 1, 1, 1)
    seen, moved = changed(images, labels, torch.Generator().manual_seed(1))
    assert not torch.equal(moved, labels)
    assert not torch.equal(moved[0], moved[1])
    for image, where in zip(seen, moved, strict=True):
        assert image[1][where == CORE].mean() > image[1][where == OEDEMA].mean() + 1
        assert image[3][where == OEDEMA].mean() > image[3][where == CORE].mean() + 1


def test_a_window_that_slides_answers_where_the_image_is_however_it_is_mirrored() -> None:
    class Bright(torch.nn.Module):
        """Calls core what is bright after contrast; the left neighbour decides, too: no flip is like another."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(9.0))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            bright = self.weight * (image[:, 1:2] - 1)
            return torch.cat([torch.zeros_like(bright), bright, bright.roll(1, 2) - 5], dim=1)

    one = sample(edge=20)
    assert one.labels is not None
    found = inference.answer(Bright(), one.images, 16)
    assert found.probability.shape == found.spread.shape == (2, 20, 20, 20)
    assert ((found.probability[0] > 0.5) == (one.labels == CORE)).mean() > 0.995
    assert found.spread.max() > 0.05
    assert not found.probability[:, (one.images == 0).all(axis=0)].any()
    once = inference.answer(Bright(), one.images, 16, inference.PLAIN)
    assert not once.spread.any()


def kept_bytes(learner: objectives.Family, images: torch.Tensor, truth: torch.Tensor) -> int:
    """Bytes that a step keeps for the way back."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(0)  # of what the autoencoder draws
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        learner.learn(images, truth, FULL)
    return sum(kept.values())


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_checkpointing_gives_the_same_answers_and_slopes_from_less_memory(family: str) -> None:
    size = replace(SMALL, edge=32, levels=4, blocks=(1, 2, 2, 4), deep_supervision=True)
    images, truth = batch(edge=32)
    found = []
    for checkpointing in (False, True):
        learner = sizes.learner(family, replace(size, checkpointing=checkpointing), "dice", seed=0)
        kept = kept_bytes(learner, images, truth)
        slopes = [weight.grad for weight in learner.parameters()]
        found.append((kept, slopes, list(learner.state_dict()), learner.segmenter.eval()(images)))
    (plain, slopes, names, answer), (less, same, same_names, same_answer) = found
    assert less < 0.6 * plain
    assert names == same_names  # checkpoints fit both
    assert all(torch.equal(one, other) for one, other in zip(slopes, same, strict=True))
    assert torch.equal(answer, same_answer)
    need, smaller = (sizes.need(family, replace(size, checkpointing=one)) for one in (False, True))
    assert smaller.activations < need.activations
    assert smaller.weights == need.weights


@pytest.mark.parametrize("family", objectives.FAMILIES)
def test_what_does_not_fit_a_gpu_is_made_to_fit_at_first_without_changing_what_is_learnt(family: str) -> None:
    size = replace(SMALL, edge=80, filters=8, batch=4)
    assert sizes.fitting(family, size, 80 * 1024**3) == (size, "")
    frugal = replace(size, checkpointing=True)
    memory = int(sizes.need(family, frugal).total / 0.9) + 1
    fitted, said = sizes.fitting(family, size, memory)
    assert fitted == frugal
    assert said == ("To fit the GPU's memory: activation checkpointing, which takes longer and gives the same network.")
    wanted = replace(frugal, edge=48, batch=1)
    memory = int(sizes.need(family, wanted).total / 0.9) + 1
    smaller, said = sizes.fitting(family, size, memory)
    assert smaller == wanted
    assert "batches of 1 patches of 48 voxels" in said


def test_where_nothing_fits_a_gpu_that_is_said() -> None:
    size = replace(SMALL, edge=80, filters=8, batch=4)
    with pytest.raises(MemoryError, match="smaller network"):
        sizes.fitting("segmentation3d", size, 100 * 1024**2)
    assert sizes.need("gan", SMALL).total > sizes.need("segmentation3d", SMALL).total


def test_an_unknown_size_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match="use one of smoke, quick, full"):
        sizes.named("large")
