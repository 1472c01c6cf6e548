"""`brainmri train`, `evaluate`, `predict`, `export` and `models`, for every task, which has a module in `TASKS`.

Such a module has

    train(options) -> int              train a network, measure it, store both in `options.out`
    evaluate(run, folder) -> dict      the figures of a run, or on other data where `folder` is not None
    predict(options) -> int            what the network of `options.run_folder` makes of `options.input`
    portable(run, folder) -> Portable  the network of a run as `export.write` takes it, and images of `folder`, or drawn
    models() -> list[dict]             name, task, framework, parameters and trainable parameters of its networks

and is imported when a command runs, for PyTorch takes seconds to load.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from brainmri import data
from brainmri.runs import Run, as_json, read_json, settings_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")
R = TypeVar("R")

TASKS = {
    "classification": "brainmri.classification.commands",
    "segmentation2d": "brainmri.segment_commands",
    "segmentation3d": "brainmri.segmentation3d.commands",
    "vae": "brainmri.segmentation3d.commands",
    "gan": "brainmri.segmentation3d.commands",
}
PREDICTIONS = "predictions.csv"
FAULTY = 1  # the exit code where something in the data could not be asked about
IN_NOTEBOOKS = {
    "classification in Keras": "brainmri.classification.keras_commands"
}  # trained there alone, by no command


def add_to(commands: Any) -> None:
    """Add the commands to a parser."""
    train = commands.add_parser("train", help="train a network and measure it", description=train_.__doc__)
    train.add_argument("task", choices=tuple(TASKS), metavar="TASK", help=" or ".join(TASKS))
    train.add_argument("--data", type=_path, required=True, metavar="DIR", help="what to learn from")
    train.add_argument("--out", type=_path, required=True, metavar="RUN", help="folder for network and figures")
    train.add_argument("--size", default="quick", help="smoke, quick (the default) or full, which wants a GPU")
    train.add_argument("--seed", type=int, default=0, help="the same seed gives the same network (default 0)")
    train.add_argument("--label", default="glioma", help="classification: what is told from the rest (glioma)")
    train.add_argument("--loss", help="segmentation: which loss (2D: bce + dice; 3D: ce + dice, the GAN dice)")
    train.add_argument("--no-pretraining", action="store_true", help="segmentation2d: no synthetic heads first")
    train.add_argument(
        "--patience",
        type=int,
        default=0,
        metavar="N",
        help="stop after N epochs that brought nothing better (never)",
    )
    train.add_argument(
        "--plateau", type=int, default=0, metavar="N", help="a tenth of the learning rate after N such epochs"
    )
    train.add_argument("--devices", type=int, default=1, help="in 3D: GPUs that share the training (default 1)")
    train.add_argument(
        "--enhancing", action="store_true", help="in 3D: necrosis and enhancing tumour as regions of their own"
    )
    train.add_argument("--force", action="store_true", help="throw away what another training left in RUN")
    train.set_defaults(run=train_)

    evaluate = commands.add_parser("evaluate", help="figures of a trained network", description=evaluate_.__doc__)
    evaluate.add_argument("run_folder", type=_path, metavar="RUN", help="folder that `train` wrote")
    evaluate.add_argument("--data", type=_path, metavar="DIR", help="other data; without, the training's own figures")
    evaluate.add_argument("--json", action="store_true", help="for programs")
    evaluate.set_defaults(run=evaluate_)

    predict = commands.add_parser("predict", help="ask a network about new images", description=predict_.__doc__)
    predict.add_argument("run_folder", type=_path, metavar="RUN", help="folder that `train` wrote")
    predict.add_argument("--input", type=_path, required=True, metavar="DIR", help="folder of images")
    predict.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder for what is found")
    predict.add_argument("--force", action="store_true", help="write into a folder that is there")
    predict.set_defaults(run=predict_)

    export = commands.add_parser("export", help="a network for other programs", description=export_.__doc__)
    export.add_argument("run_folder", type=_path, metavar="RUN", help="folder that `train` wrote")
    export.add_argument("--to", type=_path, required=True, metavar="FILE.onnx", help="file to write")
    export.add_argument("--input", type=_path, metavar="DIR", help="images to try it on; without, SYNTHETIC ones")
    export.add_argument("--force", action="store_true", help="write over a file that is there")
    export.set_defaults(run=export_)

    compare = commands.add_parser("compare", help="ways of training, side by side", description=compare_.__doc__)
    compare.add_argument("what", choices=["losses"], metavar="WHAT", help="losses (of segmentation2d)")
    compare.add_argument("--data", type=_path, required=True, metavar="DIR", help="slices with masks")
    compare.add_argument("--out", type=_path, required=True, metavar="RUN", help="folder for figures and curves")
    compare.add_argument("--size", default="quick", help="smoke, quick (the default) or full, which wants a GPU")
    compare.add_argument("--seed", type=int, default=0, help="the same seed gives the same networks (default 0)")
    compare.add_argument("--force", action="store_true", help="throw away what another training left in RUN")
    compare.set_defaults(run=compare_)

    models = commands.add_parser("models", help="the networks and their sizes", description=models_.__doc__)
    models.add_argument("--json", action="store_true", help="for programs")
    models.set_defaults(run=models_)


def train_(options: argparse.Namespace) -> int:
    """Train a network and measure it on patients or blocks that it never saw.

    Run it again with the same arguments to go on where it was interrupted.
    """
    if options.devices != 1 and TASKS[options.task] != TASKS["segmentation3d"]:
        raise ValueError(f"--devices is for the networks in 3D: {options.task} is trained on one")
    if "TORCHELASTIC_RUN_ID" in os.environ and TASKS[options.task] != TASKS["segmentation3d"]:
        raise ValueError(f"torchrun is for the networks in 3D: {options.task} is trained in one process")
    if options.enhancing and TASKS[options.task] != TASKS["segmentation3d"]:
        raise ValueError(f"--enhancing is for the networks in 3D, not for {options.task}")
    if options.task == "classification" and (options.loss or options.no_pretraining):
        raise ValueError(
            "--loss and --no-pretraining are for segmentation: classification has one loss and no heads first"
        )
    if min(options.patience, options.plateau) < 0:
        raise ValueError("--patience and --plateau are numbers of epochs, or 0 for never")
    return int(_task(options.task).train(options))


def evaluate_(options: argparse.Namespace) -> int:
    """Say how good a network is: on what its training kept apart, or on other data."""
    figures = _task(task_of(options.run_folder)).evaluate(options.run_folder, options.data)
    shown = as_json(figures)
    print(shown if options.json else "\n".join(_lines(figures)))
    return 0


def predict_(options: argparse.Namespace) -> int:
    """Write what a network makes of each image, and a table of it.

    What cannot be read is named and left out; the exit code is then 1.
    """
    return int(_task(task_of(options.run_folder)).predict(options))


def export_(options: argparse.Namespace) -> int:
    """Write a network as an ONNX file, with what its card says, and see that the file gives the same answers."""
    from brainmri import export

    if options.to.suffix.lower() != export.ENDING:
        raise data.DataError(f"{options.to} is no ONNX file. Give a name that ends in {export.ENDING}.")
    if options.to.exists() and not options.force:
        raise data.DataError(f"{options.to} exists. Name a new file, or add --force to write over it.")
    portable = _task(task_of(options.run_folder)).portable(options.run_folder, options.input)
    difference = export.write(portable, options.to)
    print(f"{options.to}: {portable.summary}")
    print(f"Its answers about {portable.asked} are those of the network; they differ by {difference:.1g} at most.")
    return 0


def compare_(options: argparse.Namespace) -> int:
    """Train the same small U-Net once with each loss, on one split: a table, and curves of loss and Dice.

    Run it again with the same arguments to go on where it was interrupted.
    """
    return int(_imported(TASKS["segmentation2d"]).compare_losses(options))


def models_(options: argparse.Namespace) -> int:
    """List every network with its task, framework, and how many parameters it has and learns."""
    listed = [
        model for module in dict.fromkeys((TASKS | IN_NOTEBOOKS).values()) for model in _imported(module).models()
    ]
    if options.json:
        print(json.dumps(listed, indent=2))
        return 0
    for entry in listed:
        print(f"{entry['name']:21} {entry['task']:15} {entry['framework']:8} {entry['parameters']:>12,} parameters")
    return 0


def task_of(run: Path) -> str:
    """What a run's network was trained for. Raises DataError for a folder that is none."""
    path = run / "settings.json"
    if not path.is_file():
        raise data.DataError(f"{run} has no settings.json. Give the folder that `brainmri train` wrote.")
    task = read_json(path).get("task")
    if task not in TASKS | IN_NOTEBOOKS:
        raise data.DataError(f"{run} holds a training of another kind ({task}); known are {', '.join(TASKS)}.")
    return str(task)


def stored_figures(run: Path) -> dict[str, Any]:
    """What a training measured by itself. Raises DataError where it did not come to its end."""
    path = run / "result.json"
    if not path.is_file():
        raise data.DataError(f"{run} has no result.json: its training is not complete. Run it again.")
    return read_json(path)


def claim(folder: Path, settings: Mapping[str, Any], *, force: bool) -> None:
    """Take a folder for a training; that of the same one to go on with it. Raises DataError for another's."""
    theirs = folder / "settings.json"
    if theirs.is_file() and theirs.read_text(encoding="utf-8").rstrip() == settings_text(settings):
        return
    if folder.exists() and any(folder.iterdir()):
        if not force:
            raise data.DataError(f"{folder} holds another training. Name a new folder, or add --force to replace it.")
        if not _is_training(theirs):
            raise data.DataError(f"{folder} holds no training but other files. Name a new folder.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    Run(folder).write_settings(settings)


def claim_output(folder: Path, *, force: bool, masks: Sequence[str] = (), asked: Iterable[Path] = ()) -> None:
    """Take a folder for what a network finds. Raises DataError for one that is there, unless `force`.

    Even then it must not be that of the images that are `asked` about, nor may any of the `masks` to be written be
    there, unless an earlier `predict` wrote them: what people drew has the same names.
    """
    if folder.exists() and not force:
        raise data.DataError(f"{folder} exists. Name a new folder, or add --force to write into it.")
    if folder.resolve() in {path.resolve().parent for path in asked}:
        raise data.DataError(
            f"{folder} holds the images that are asked about: masks would lie among them. Name another."
        )
    theirs = [] if (folder / PREDICTIONS).is_file() else [name for name in masks if (folder / name).exists()]
    if theirs:
        raise data.DataError(f"{folder} holds {theirs[0]}, which no `brainmri predict` wrote. Name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PREDICTIONS).touch()  # so that one that was interrupted can be told from what people drew


def readable(
    found: Sequence[T], read: Callable[[T], R], faults: list[str], on_progress: Callable[[int, int], None]
) -> Iterator[tuple[T, R]]:
    """What can be read of what was found, with what it holds; `faults` gets a sentence for each that cannot."""
    for done, one in enumerate(found, start=1):
        try:
            held = read(one)
        except data.DataError as error:
            faults.append(str(error))
        else:
            yield one, held
        on_progress(done, len(found))


@contextmanager
def predictions(folder: Path, columns: Sequence[str]) -> Iterator[Callable[[Sequence[object]], object]]:
    """Takes the rows of predictions.csv one by one, so that it has all that were found when it is interrupted."""
    with (folder / PREDICTIONS).open("w", newline="", encoding="utf-8", buffering=1) as table:
        writer = csv.writer(table)
        writer.writerow(columns)
        yield writer.writerow


def say_predicted(folder: Path, what: str, faults: Sequence[str]) -> int:
    """Say what there is now in a folder and what could not be read; returns the exit code."""
    for fault in faults:
        print(f"FAULT: {fault}")
    left = f", without {len(faults)} that cannot be read" if faults else ""
    print(f"{folder}: {what}{left}. For research: this is not a medical device.")
    return FAULTY if faults else 0


def images(folder: Path) -> list[data.Slice]:
    """The images of a folder, or of its `slices/`. Raises DataError for none."""
    if not folder.is_dir():
        raise data.DataError(f"There is no folder {folder}. Check the path.")
    place = folder / "slices" if (folder / "slices").is_dir() else folder
    paths = data.image_paths(place)
    if not paths:
        raise data.DataError(f"{place} holds no image. Give a folder with files {', '.join(data.ENDINGS)}.")
    source = data.stored_source(place.parent if place.name == "slices" else place)
    return [data.Slice(path, label="", group=path.stem, source=source) for path in paths]


def _task(name: str) -> Any:
    return _imported((TASKS | IN_NOTEBOOKS)[name])


def _imported(module: str) -> Any:
    """A task's module. Raises DataError in an environment that lacks what networks need."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise data.DataError(
            f"{error.name} is not in this environment: networks need it. Use the kernel PyTorch, which has it, or a "
            "terminal after `source` of its environment's setup.sh."
        ) from error


def _is_training(settings: Path) -> bool:
    """Whether a file is the settings of a training, and not those of something else that has such a file."""
    try:
        return settings.is_file() and bool(read_json(settings).get("task"))
    except data.DataError:
        return False


def _lines(figures: Mapping[str, Any], of: str = "") -> Iterator[str]:
    """A line a figure; those of single cases are for programs."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from () if name == "cases" else _lines(value, f"{name} ")
        else:
            yield f"{of}{name}: {_short(value)}"


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _path(text: str) -> Path:
    return Path(text).expanduser()
