"""A recipe of preprocessing: named steps with their options, as JSON that is stored with what was made by it.

    {"steps": [{"step": "denoise"}, {"step": "bias"}, {"step": "brain", "method": "bet"}, {"step": "strip"}, ...]}

A folder that was made by a recipe keeps for each scan which file and which recipe it was made from, so that what is
done is not done again, and what has changed is.
"""

from __future__ import annotations

import fnmatch
import hashlib
import inspect
import json
import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from brainmri import __version__, preprocess, volume
from brainmri.data import DataError
from brainmri.runs import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from brainmri.preprocess import Mask
    from brainmri.volume import Volume

    State = tuple[Volume, Mask | None]

NAME = "recipe.json"


@dataclass(frozen=True)
class Step:
    """The name of a step and its options. Raises ValueError for a name or an option that there is none of."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in STEPS:
            raise ValueError(f"there is no step {self.name!r}; use {', '.join(STEPS)}")
        known = _options(self.name)
        wrong = sorted(set(self.options) - set(known))
        if wrong:
            raise ValueError(f"the step {self.name} has no option {', '.join(wrong)}; it has {_listed(known)}")
        missing = [name for name, one in known.items() if one.default is one.empty and name not in self.options]
        if missing:
            raise ValueError(f"the step {self.name} needs {', '.join(missing)}")
        for name, value in self.options.items():
            what, fits = KINDS[known[name].annotation]
            if not fits(value):
                raise ValueError(f"the option {name} of the step {self.name} is {value!r}; it has to be {what}")

    def run(self, state: State) -> State:
        """The volume after this step, and where the brain is, if that is known by then."""
        return STEPS[self.name](state, **self.options)


@dataclass(frozen=True)
class Recipe:
    """Steps in their order."""

    steps: tuple[Step, ...]

    @classmethod
    def default(cls) -> Recipe:
        """What a raw T1 scan needs before a network learns from it. The brain is found after the light is even."""
        return cls(tuple(Step(name) for name in ("denoise", "bias", "brain", "strip", "z-score")))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Raises DataError for what is no recipe, naming the step and what there is instead."""
        try:
            rows = json.loads(text)["steps"]
            return cls(tuple(Step(row["step"], {k: v for k, v in row.items() if k != "step"}) for row in rows))
        except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f'This is no recipe ({type(error).__name__}: {error}). Such as {{"steps": [{{"step": "bias"}}]}}.'
            ) from error
        except ValueError as error:
            raise DataError(f"This recipe cannot be used: {error}.") from error

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """The recipe of a file. Raises DataError."""
        if not path.is_file():
            raise DataError(f"There is no recipe {path}. Give a JSON file, or `default`.")
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no text in UTF-8 ({error}). Save it again as JSON, in UTF-8.") from error

    def as_json(self) -> str:
        """Equal recipes as equal text."""
        rows = [{"step": step.name, **dict(sorted(step.options.items()))} for step in self.steps]
        return json.dumps({"steps": rows}, indent=2) + "\n"

    @property
    def digest(self) -> str:
        """Changes with any step, option, or the version of the code."""
        return hashlib.sha256((self.as_json() + __version__).encode()).hexdigest()[:16]

    @property
    def settled(self) -> Recipe:
        """With the name of what finds the brain here instead of `auto`, so that what is stored tells what was done.

        Raises ValueError for a name that there is none of.
        """
        return Recipe(tuple(_settled(step) for step in self.steps))

    def apply(self, scan: Volume, on_progress: Callable[[int, int], None] | None = None) -> Prepared:
        """All steps on one scan, each timed and measured. Raises DataError where one cannot be done."""
        state: State = (scan, None)
        states, seconds = [scan], []
        for done, step in enumerate(self.steps, start=1):
            began = time.monotonic()
            state = step.run(state)
            seconds.append(time.monotonic() - began)
            states.append(state[0])
            if on_progress:
                on_progress(done, len(self.steps))
        return Prepared(state[0], state[1], _measured(self.steps, states, seconds, state[1]))


@dataclass(frozen=True)
class Measure:
    """A step held against its goal. Both figures have no unit, low is good, and None stands where there is no brain."""

    step: str
    seconds: float
    joint_variation: float | None
    roughness: float | None


@dataclass(frozen=True)
class Prepared:
    """A scan after its recipe: where the brain is, if a step found it, and a measure for the scan and each step."""

    volume: Volume
    brain: Mask | None
    measures: tuple[Measure, ...]


def resample(state: State, *, spacing: Sequence[float]) -> State:
    """Voxels of `spacing` mm."""
    scan, brain = state
    if brain is not None:
        brain = preprocess.resample(scan.holding(brain), spacing=spacing, mask=True).values > 0.5
    return preprocess.resample(scan, spacing=spacing), brain


def denoise(state: State, *, sigma: float | None = None, block_radius: int = 2) -> State:
    """Without most of the noise."""
    return preprocess.denoise(state[0], sigma=sigma, block_radius=block_radius), state[1]


def bias(state: State, *, rounds: int = 4, iterations: int = 30) -> State:
    """Evenly lit: by the brain, if a step before has found it, else by the whole head."""
    return preprocess.correct_bias(*state, rounds=rounds, iterations=iterations), state[1]


def brain(state: State, *, method: str = "auto") -> State:
    """Finds the brain; the volume stays as it is."""
    return state[0], preprocess.brain_mask(state[0], method=method)


def strip(state: State) -> State:
    """Black outside of the brain."""
    return preprocess.strip(state[0], _brain(state, "strip")), state[1]


def z_score(state: State) -> State:
    """In standard deviations of the brain from its mean."""
    return preprocess.z_score(state[0], _brain(state, "z-score")), state[1]


def percentiles(state: State, *, low: float = 1.0, high: float = 99.0) -> State:
    """From 0 to 1 between two percentiles of the brain."""
    return preprocess.percentile_scale(state[0], _brain(state, "percentiles"), low=low, high=high), state[1]


def histogram(state: State, *, landmarks: Sequence[float]) -> State:
    """The brain's percentiles moved to landmarks."""
    return preprocess.match_histogram(state[0], _brain(state, "histogram"), landmarks=landmarks), state[1]


def contrast(state: State, *, clip: float = 0.01) -> State:
    """Local contrast spread, for eyes."""
    return preprocess.enhance_contrast(state[0], _brain(state, "contrast"), clip=clip), state[1]


STEPS: dict[str, Callable[..., State]] = {
    "resample": resample,
    "denoise": denoise,
    "bias": bias,
    "brain": brain,
    "strip": strip,
    "z-score": z_score,
    "percentiles": percentiles,
    "histogram": histogram,
    "contrast": contrast,
}


@dataclass
class Folder:
    """A folder after a recipe: how many scans were prepared now and before, and a sentence for each that was not."""

    made: int = 0
    found: int = 0
    faults: list[str] = field(default_factory=list)


def apply_to_folder(
    recipe: Recipe,
    source: Path,
    target: Path,
    *,
    masks: str = "*mask*",
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Folder:
    """Every NIfTI scan below `source`, into the same place below `target`, over all cores of this session.

    Beside each scan X.nii.gz: X-brain.nii.gz, and X.json with its measures. Files named like `masks` are carried along
    onto the new grid. A scan whose file and recipe are those it was made from is left as it is. A scan that cannot be
    prepared becomes a fault, and the others go on. Raises DataError where `target` was made by another recipe, which
    `force` overrules, or is inside `source`.
    """
    files, recipe = volume.paths(source), recipe.settled
    if target.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{target} lies inside {source}: it would become part of what it is made from. Name another.")
    _refuse_same_names(files)
    _claim(recipe, target, force=force)
    jobs = [
        (recipe, path, target / path.relative_to(source).parent, fnmatch.fnmatch(path.name, masks)) for path in files
    ]
    result = Folder()
    if all(job[3] for job in jobs):
        raise DataError(f"Every file of {source} is named like a mask ({masks}). Give the masks' pattern with --mask.")
    cores = min(len(os.sched_getaffinity(0)), len(jobs))
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), initializer=_alone) as pool:
        each = pool.map(_prepare, jobs) if cores > 1 else map(_prepare, jobs)
        for done, (made, fault) in enumerate(each, start=1):
            if fault:
                result.faults.append(fault)
            elif made is not None:
                result.made += made
                result.found += not made
            if on_progress:
                on_progress(done, len(jobs))
    return result


def _settled(step: Step) -> Step:
    if step.name != "brain":
        return step
    return Step("brain", {"method": preprocess.brain_method(step.options.get("method", "auto"))})


def _refuse_same_names(files: Sequence[Path]) -> None:
    """What is made of one file must not be what is made of another."""
    names = Counter(path.parent / volume.stem(path) for path in files)
    for name, count in names.items():
        if count > 1 or name.with_name(f"{name.name}-brain") in names:
            raise DataError(
                f"{name} is there twice, as .nii and .nii.gz, or with a {name.name}-brain beside it: what is made of "
                "both would have one name. Rename one, or move it elsewhere."
            )


def _claim(recipe: Recipe, target: Path, *, force: bool) -> None:
    """Refuse a folder that another recipe, or something else, has filled."""
    stored = target / NAME
    if target.exists() and any(target.iterdir()) and not force:
        before = stored.read_text(encoding="utf-8") if stored.is_file() else None
        if before != recipe.as_json():
            what = "was made by another recipe" if before else "is not empty"
            raise DataError(f"{target} {what}. Name a new folder, or add --force to write into it.")
    target.mkdir(parents=True, exist_ok=True)
    write_whole(stored, recipe.as_json())


def _prepare(job: tuple[Recipe, Path, Path, bool]) -> tuple[bool | None, str]:
    """One file: whether a scan was made (or found, or, for a mask, None), and what is wrong with it."""
    recipe, path, folder, is_mask = job
    try:
        name = volume.stem(path)
        folder.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(path.read_bytes() + recipe.digest.encode()).hexdigest()
        card, out = folder / f"{name}.json", folder / f"{name}.nii.gz"
        if card.is_file() and out.is_file() and json.loads(card.read_text(encoding="utf-8")).get("made_from") == key:
            return (None if is_mask else False), ""
        rows: list[dict[str, Any]] = []
        if is_mask:
            volume.write(_carried(recipe, volume.read(path)), out, mask=True)
        else:
            prepared = recipe.apply(volume.read(path))
            volume.write(prepared.volume, out)
            if prepared.brain is not None:
                brain_file = folder / f"{name}-brain.nii.gz"
                volume.write(prepared.volume.holding(prepared.brain), brain_file, mask=True)
            rows = [asdict(measure) for measure in prepared.measures]
        write_whole(card, json.dumps({"file": path.name, "made_from": key, "measures": rows}, indent=2) + "\n")
        return (None if is_mask else True), ""
    except (DataError, ValueError) as error:
        return None, str(error) if str(path) in str(error) else f"{path}: {error}"


def _carried(recipe: Recipe, mask: Volume) -> Volume:
    """A mask on the grid that its scan gets."""
    for step in recipe.steps:
        if step.name == "resample":
            mask = preprocess.resample(mask, mask=True, **step.options)
    return mask


def _alone() -> None:
    """Each process works on one core: there is one for every core."""
    from importlib.util import find_spec

    if find_spec("SimpleITK"):
        import SimpleITK as itk  # noqa: N813

        itk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _measured(
    steps: Sequence[Step], states: Sequence[Volume], seconds: Sequence[float], brain: Mask | None
) -> tuple[Measure, ...]:
    """The scan and each step, all by the tissue of the finished scan, so that they can be compared."""
    names, times = ["as scanned", *(step.name for step in steps)], [0.0, *seconds]
    finished = states[-1]
    if brain is None or brain.shape != finished.values.shape:
        return tuple(Measure(name, took, None, None) for name, took in zip(names, times, strict=True))
    grey, white = preprocess.tissues(finished, brain)
    return tuple(
        Measure(
            name,
            round(took, 2),
            preprocess.joint_variation(one.values, grey, white) if one.values.shape == brain.shape else None,
            preprocess.roughness(one.values, grey, white) if one.values.shape == brain.shape else None,
        )
        for name, took, one in zip(names, times, states, strict=True)
    )


def _brain(state: State, step: str) -> Mask:
    if state[1] is None:
        raise DataError(f"The step {step} needs to know where the brain is: put the step brain before it.")
    return state[1]


def _options(step: str) -> dict[str, inspect.Parameter]:
    """The options of a step."""
    parameters = list(inspect.signature(STEPS[step]).parameters.values())[1:]
    return {one.name: one for one in parameters}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


# What an option has to be, by how the step declares it: a recipe is text that somebody wrote.
KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", lambda value: _is_number(value) and isinstance(value, int)),
    "float": ("a number", _is_number),
    "float | None": ("a number", lambda value: value is None or _is_number(value)),
    "str": ("a word", lambda value: isinstance(value, str)),
    "Sequence[float]": (
        "a list of numbers", lambda value: isinstance(value, (list, tuple)) and all(map(_is_number, value)),
    ),
}  # fmt: skip


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(names) or "none"
