"""Trainings in MLflow, to be looked at beside each other: settings, what each epoch came to, and the figures.

They are kept in the user's home, or where MLFLOW_TRACKING_URI says. The folder of a run stays the truth, and only runs
whose settings name a task are trainings. A part of one, such as a fold, is a run of its own below that of the whole.
Where MLflow is not installed, or cannot write, a training goes on without.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import warnings
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from brainmri.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.figure import Figure

HOME = "sciencebox-runs"
STORE = "mlflow.db"
MARK = "mlflow-run"  # in a run's folder: the name that MLflow gave it
PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"  # MLflow's own tags
LONGEST = 500  # characters of a setting
MOST = 1000  # runs that are listed
FIGURES = ("auc", "accuracy", "dice")
SHOWN = 9  # curves that can be told apart


def uri() -> str:
    """Where trainings are kept: what MLFLOW_TRACKING_URI says, else a file in the home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _own()


def log_epochs(folder: Path, history: Sequence[Mapping[str, float]], *, complete: bool = False) -> None:
    """Log the epochs that MLflow does not have yet of the training in a folder; `complete` if no more will come."""
    with _harmless():
        if history and (place := _study(folder)) and (client := _client(uri())):
            run = _begun(client, folder, *place, seconds=sum(epoch.get("seconds", 0) for epoch in history))
            known = len(client.get_metric_history(run, _name(next(iter(history[0])))))
            for step in range(known, len(history)):
                _log(client, run, history[step], step + 1)
            if complete:
                client.set_terminated(run)


def log_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Log the figures of a training, and what they are from; that ends it."""
    with _harmless():
        if (place := _study(folder)) and (client := _client(uri())):
            run = _begun(client, folder, *place)
            told = dict(_flat({name: value for name, value in result.items() if name != "cases"}))
            _log(client, run, {name: value for name, value in told.items() if _is_number(value)})
            for name, value in told.items():
                if isinstance(value, str):
                    client.set_tag(run, name, value)
            client.set_terminated(run)


def rows() -> list[dict[str, Any]]:
    """Every training that was logged, the newest first: when, what, from which data, and its figures."""
    return [_row(run) for run in _runs() if PARENT not in run.data.tags]


def curves(metric: str = "loss", most: int = SHOWN) -> Figure:
    """What a metric came to in each epoch of the newest trainings that have it, folds and other parts included.

    Raises ValueError where none has.
    """
    from matplotlib import pyplot as plt
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    from brainmri import data, view

    runs = [run for run in _runs() if metric in run.data.metrics][:most]
    if not runs:
        named = ", ".join(sorted({name for run in _runs() for name in run.data.metrics})) or "none yet"
        raise ValueError(f"No training has the metric {metric!r}; there are {named}.")
    looks = [(colour, line) for line in ("-", "--", ":") for colour in (view.BLUE, view.ORANGE, view.GREEN)]
    with rc_context(view.STYLE):
        figure, axis = plt.subplots(figsize=(9.5, 3.9))
        for run, (colour, line) in zip(runs, looks, strict=False):
            found = sorted(_client(uri()).get_metric_history(run.info.run_id, metric), key=lambda one: one.step)
            label = f"{_row(run)['name']}, seed {_row(run)['seed']}, {time.strftime('%d %b %H:%M', _begin(run))}"
            axis.plot([one.step for one in found], [one.value for one in found], line, color=colour, label=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(xlabel="epoch", title=metric)
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        names = {run.data.tags.get("data", "data that is not named").removeprefix("Data: ") for run in runs}
        synthetic = all(run.data.tags.get("synthetic") == "True" for run in runs)
        name = "; ".join(sorted(one.removeprefix("SYNTHETIC DATA: ") if synthetic else one for one in names))
        return view.finished(figure, data.Source(name, "", synthetic=synthetic))


def _own() -> str:
    return f"sqlite:///{Path.home() / HOME / STORE}"


def _study(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The folder of the whole training that a folder belongs to, with its settings; None where there is no task."""
    for place in (folder, folder.parent):
        path = place / "settings.json"
        if path.is_file():
            settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return (place, settings) if settings.get("task") else None
    return None


def _begun(client: Any, folder: Path, whole: Path, settings: Mapping[str, Any], seconds: float = 0) -> str:
    """The run of a folder in MLflow; where the store has none, a new one that began so many seconds ago."""
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException

    mark = folder / MARK
    if mark.is_file():
        try:
            found = client.get_run(mark.read_text(encoding="utf-8"))
        except MlflowException:  # another store, or a new one
            pass
        else:
            if found.info.lifecycle_stage == "active":
                return str(found.info.run_id)
    tags = {"folder": str(folder.absolute()), "data": str(settings.get("data_name", ""))}
    tags |= {"synthetic": str(tags["data"].startswith("SYNTHETIC"))} if tags["data"] else {}
    name = str(settings.get("name", "training"))
    if folder != whole:
        tags[PARENT] = _begun(client, whole, whole, settings, seconds)
        name = f"{name}, {folder.name}"
    start = int((time.time() - seconds) * 1000)
    begun = client.create_run(_experiment(client, settings["task"]), start_time=start, run_name=name, tags=tags)
    run = str(begun.info.run_id)
    params = [Param(_name(key), str(value)[:LONGEST]) for key, value in _flat(settings) if key != "name"]
    client.log_batch(run, params=params)
    mark.write_text(run, encoding="utf-8")
    return run


def _experiment(client: Any, task: str) -> str:
    found = client.get_experiment_by_name(task)
    return str(found.experiment_id if found else client.create_experiment(task))


def _log(client: Any, run: str, values: Mapping[str, float], step: int = 0) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    client.log_batch(run, metrics=[Metric(_name(name), float(value), now, step) for name, value in values.items()])


def _runs() -> list[Any]:
    """All runs that MLflow has, the newest first. Raises ValueError where it is not, or cannot read them."""
    try:
        client = _client(uri())
        if client is None:
            raise ValueError("MLflow is not in this environment. Use the kernel PyTorch or TensorFlow, which have it.")
        experiments = [one.experiment_id for one in client.search_experiments()]
        return list(client.search_runs(experiments, max_results=MOST, order_by=["attributes.start_time DESC"]))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"MLflow cannot read {uri()}: {_reason(error)}") from error


def _row(run: Any) -> dict[str, Any]:
    tags, params, metrics = run.data.tags, run.data.params, run.data.metrics
    return {
        "begun": time.strftime("%Y-%m-%d %H:%M", _begin(run)),
        "task": params.get("task", ""),
        "name": tags.get(NAME, ""),
        "seed": params.get("seed", ""),
        "data": tags.get("data", ""),
        **{name: metrics.get(name) for name in FIGURES},
        "complete": run.info.status == "FINISHED",
        "folder": tags.get("folder", ""),
    }


def _begin(run: Any) -> time.struct_time:
    return time.localtime(run.info.start_time / 1000)


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Values of values as `size.pixels`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _name(text: str) -> str:
    """As MLflow takes names."""
    return re.sub(r"[^\w\-. :/]", "", text)


@cache
def _client(where: str) -> Any:
    """MLflow's client for a store, which is made if need be; None where MLflow is not installed."""
    if find_spec("mlflow") is None:
        return None
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # what a user computes is told to nobody
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # a session may have no git
    store = Path.home() / HOME / STORE
    if where == _own() and not store.exists():
        _make_store(store)
    return _opened(where)


def _opened(where: str) -> Any:
    from mlflow import MlflowClient  # takes seconds

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=where)


def _make_store(store: Path) -> None:
    """Let MLflow make its tables beside the place and put them there whole: it cannot go on with half of them.

    That takes seconds, in which a training stands still: so it is said.
    """
    show = Progress("making MLflow's tables, once for all trainings")
    show(0, 1)
    store.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{STORE}-", dir=store.parent) as scratch:
        _opened(f"sqlite:///{Path(scratch) / STORE}")
        with suppress(FileExistsError):  # another training was faster
            store.hardlink_to(Path(scratch) / STORE)
    show(1, 1)


@contextmanager
def _harmless() -> Iterator[None]:
    """Whatever keeps MLflow from writing is said, and keeps nobody from training."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries below MLflow
            yield
    except Exception as error:
        warnings.warn(f"MLflow did not log this training, which goes on: {_reason(error)}", stacklevel=4)


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
