"""`brainmri train`, `evaluate`, `predict` and `models`. Whatever needs PyTorch is imported when a command runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmri import data

if TYPE_CHECKING:
    import argparse

    from numpy.typing import NDArray

TASKS = ("segmentation2d",)
COLUMNS = ("slice", "probability", "area_pixels", "mask")
# The networks that a training takes, by size, and the one of CERN's talk. Numbers are counted, not written here.
TALK = {"filters": 64, "levels": 5}


def add_to(commands: Any) -> None:
    """Add the commands to a parser."""
    train = commands.add_parser("train", help="train a network and measure it", description=train_.__doc__)
    train.add_argument("task", choices=TASKS, metavar="TASK", help=" or ".join(TASKS))
    train.add_argument(
        "--data", type=_path, required=True, metavar="DIR", help="folder with labels.csv, slices/, masks/"
    )
    train.add_argument("--out", type=_path, required=True, metavar="RUN", help="folder for network and figures")
    train.add_argument("--size", default="quick", help="smoke, quick (the default) or full, which wants a GPU")
    train.add_argument("--seed", type=int, default=0, help="the same seed gives the same network (default 0)")
    train.add_argument("--loss", default="bce + dice", help="which loss (default bce + dice)")
    train.add_argument("--no-pretraining", action="store_true", help="do not learn from synthetic heads first")
    train.add_argument("--force", action="store_true", help="throw away what another training left in RUN")
    train.set_defaults(run=train_)

    evaluate = commands.add_parser("evaluate", help="figures of a trained network", description=evaluate_.__doc__)
    evaluate.add_argument("run_folder", type=_path, metavar="RUN", help="folder that `train` wrote")
    evaluate.add_argument(
        "--data", type=_path, metavar="DIR", help="other slices with masks; without, the folds' figures"
    )
    evaluate.add_argument("--json", action="store_true", help="for programs")
    evaluate.set_defaults(run=evaluate_)

    predict = commands.add_parser("predict", help="masks for new slices", description=predict_.__doc__)
    predict.add_argument("run_folder", type=_path, metavar="RUN", help="folder that `train` wrote")
    predict.add_argument("--input", type=_path, required=True, metavar="DIR", help="folder of images")
    predict.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for masks and predictions.csv")
    predict.add_argument("--force", action="store_true", help="write into a folder that is there")
    predict.set_defaults(run=predict_)

    models = commands.add_parser("models", help="the networks and their sizes", description=models_.__doc__)
    models.add_argument("--json", action="store_true", help="for programs")
    models.set_defaults(run=models_)


def train_(options: argparse.Namespace) -> int:
    """Learn from synthetic heads, then from drawn masks; measured by cross-validation over patients or blocks.

    Run it again with the same arguments to go on where it was interrupted.
    """
    from brainmri.progress import Progress, TerminalLine
    from brainmri.runs import Run, settings_text
    from brainmri.study import Study

    study = Study(
        data.read_folder(options.data), options.size, options.out, seed=options.seed, loss=options.loss,
        pretrain=not options.no_pretraining, bars=lambda title: Progress(title, line=TerminalLine()),
    )  # fmt: skip
    _claim(options.out, settings_text(study.settings), force=options.force)
    Run(options.out).write_settings(study.settings)
    samples = study.samples()
    if study.pretrain:
        study.pretraining()
    validation = study.cross_validate(samples)
    result = study.result(samples, validation)
    study.final(samples, validation)
    print("\n".join([*result.sentences(), f"Stored in {options.out}."]))
    return 0


def evaluate_(options: argparse.Namespace) -> int:
    """Say how good a network is: by its cross-validation, or on other slices with masks."""
    if options.data is None:
        path = options.run_folder / "result.json"
        if not path.is_file():
            raise data.DataError(
                f"{options.run_folder} has no result.json: its training is not complete. Run it again."
            )
        figures = json.loads(path.read_text(encoding="utf-8"))
    else:
        from brainmri.overlap import mean_by_group
        from brainmri.results import overlap_figures
        from brainmri.study import Trained

        dataset = data.read_folder(options.data)
        samples, overlaps = Trained.read(options.run_folder).evaluate(dataset)
        groups = [str(group) for group in samples.groups]
        figures = {
            **overlap_figures(mean_by_group([one.dice for one in overlaps], groups), overlaps, groups),
            "split": "other slices than those of the training",
            "data": dataset.source.credit,
        }
    print(
        json.dumps(figures, indent=2)
        if options.json
        else "\n".join(f"{name}: {_short(v)}" for name, v in figures.items())
    )
    return 0


def predict_(options: argparse.Namespace) -> int:
    """Write a mask for each image, white on black, and a table of the highest probability and the area found."""
    from PIL import Image

    from brainmri import fit, segment
    from brainmri.progress import counter
    from brainmri.study import Trained

    trained = Trained.read(options.run_folder)
    found = _images(options.input)
    if options.out.exists() and not options.force:
        raise data.DataError(f"{options.out} exists. Name a new folder, or add --force to write into it.")
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, int, str]] = []
    show = counter("marking")
    for item in found:
        image = segment.normalise(data.load([item], trained.pixels)[0])
        probability = segment.full_resolution(fit.predict(trained.model, image[None, None])[0, 0], item)
        mask: NDArray[np.bool_] = probability >= trained.threshold
        name = f"{item.image.stem}.png"
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(options.out / name)
        rows.append((item.image.name, f"{probability.max():.4f}", int(mask.sum()), name))
        show(len(rows), len(found))
    with (options.out / "predictions.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([COLUMNS, *rows])
    print(f"{options.out}: {len(rows)} masks and predictions.csv. For research: this is not a medical device.")
    return 0


def models_(options: argparse.Namespace) -> int:
    """List every network with its task, framework, and how many parameters it has and learns."""
    from brainmri.segment import SIZES
    from brainmri.unet import UNet

    named = {f"unet-{name}": {"filters": size.filters, "levels": size.levels} for name, size in SIZES.items()}
    listed = []
    for name, shape in {**named, "unet-talk": TALK}.items():
        model = UNet(**shape)
        learnt = sum(parameter.numel() for parameter in model.parameters())
        fixed = sum(buffer.numel() for label, buffer in model.named_buffers() if "running" in label)
        listed.append(
            {
                "name": name,
                "task": "segmentation2d",
                "framework": "pytorch",
                "parameters": learnt + fixed,
                "trainable": learnt,
            }
        )
    if options.json:
        print(json.dumps(listed, indent=2))
    else:
        for entry in listed:
            print(f"{entry['name']:12} {entry['task']:15} {entry['framework']:8} {entry['parameters']:>12,} parameters")
    return 0


def _claim(folder: Path, settings: str, *, force: bool) -> None:
    """Take a folder for a training; that of the same one to go on with it. Raises DataError for another's."""
    theirs = folder / "settings.json"
    if theirs.is_file() and theirs.read_text(encoding="utf-8").rstrip() == settings:
        return
    if folder.exists() and any(folder.iterdir()):
        if not force:
            raise data.DataError(f"{folder} holds another training. Name a new folder, or add --force to replace it.")
        if not theirs.is_file():
            raise data.DataError(f"{folder} holds no training but other files. Name a new folder.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _images(folder: Path) -> list[data.Slice]:
    """The images of a folder, or of its `slices/`."""
    place = folder / "slices" if (folder / "slices").is_dir() else folder
    paths = data.image_paths(place)
    if not paths:
        raise data.DataError(f"{place} holds no image. Give a folder with files {', '.join(data.ENDINGS)}.")
    source = data.Source(name=f"folder {folder.name}", licence="licence not stated")
    return [data.Slice(path, label="", group=path.stem, source=source) for path in paths]


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _path(text: str) -> Path:
    return Path(text).expanduser()
