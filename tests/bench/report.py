"""From the recorded figures to docs/benchmarks.md. Pure; `picture` draws."""

from __future__ import annotations

import itertools
import statistics
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench import broker, pipeline2d, pipeline3d, report_cluster, threads
from tests.bench.broker import DEVICES, MODELS, RUNNING
from tests.bench.measure import ALONE, OURS_CPU, OURS_GPU, PLAIN_OURS, PLAIN_PLAIN, STEPS, TOGETHER, USERS
from tests.bench.replay import BUSY, GPUS, OURS, PEER, SCENES
from tests.bench.stack import LOCAL, WARM
from tests.bench.texts import percentile, prose, ratios, spread
from tests.bench.waiting import ALONE as ALONE_IN_HUB
from tests.bench.waiting import AMONG, CROWD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.replay import Scene
    from tests.bench.results import Figure, Results

SAME_IMAGE, PLAIN_IMAGE = 1.05, 0.4  # ratios of the time from click to ready
WARM_IMPORT = 1.3  # ratio of the times of `import torch`
FORM_MS = 100
WAITING_MS = 25
BROKER_PER_S, BROKER_MB = 20_000, 100
IMAGE_MB = {"session": 700, "hub": 500}

HEAD = """# Benchmarks

Made by `make bench` from `tests/bench/results.json`; not a figure is typed. What is compared is measured in turn on the
same engine, and a ratio is the median of the ratios round by round, so that it holds on a machine whose speed drifts. A
figure is the median, in brackets the 10th and the 90th percentile."""


@dataclass(frozen=True)
class Goal:
    """What was aimed at, what was measured, and whether that is enough."""

    what: str
    measured: float
    limit: float
    digits: int = 2
    at_least: bool = False

    @property
    def met(self) -> bool:
        """By the numbers as measured, not as rounded."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        """For the terminal."""
        verdict = "met" if self.met else "NOT MET"
        return f"{verdict:7} {self.what}: {self.measured:.{self.digits}f}, {self._bound} {self.limit:g}"

    @property
    def _bound(self) -> str:
        return "at least" if self.at_least else "at most"

    def row(self) -> str:
        """A line of the table."""
        numbers = f"{self.measured:.{self.digits}f} | {self._bound} {self.limit:.{self.digits}f}"
        return f"| {self.what} | {numbers} | {'met' if self.met else '**not met**'} |"


def page(results: Results) -> str:
    """The document, with a section for each figure that there is."""
    runs = distinct_runs(results)
    parts = [HEAD, *_goals(goals(results))]
    sections: tuple[tuple[str, Callable[[Figure], list[str]]], ...] = (
        ("building", _building),
        ("publishing", _publishing),
        ("imports", _imports),
        ("click_to_ready", _click),
        ("breakdown", _breakdown),
        ("form", _form),
        ("broker", _broker),
        ("replay", _replay),
        ("waiting", _waiting),
        ("deploy_again", _deploy_again),
        ("deploy_cold", _deploy_cold),
        ("images", _images),
        ("cluster", report_cluster.form),
        ("bound", report_cluster.bound),
        ("pipeline2d", pipeline2d.section),
        ("pipeline3d", pipeline3d.section),
        ("threads", threads.section),
    )
    for name, section in sections:
        if name in results:
            figure = results[name]
            parts += [*section(figure), f"\n*{_origin(figure, runs.index(figure['run']) + 1)}*\n"]
    return "\n".join([*parts, *_runs(runs)])


def goals(results: Results) -> list[Goal]:
    """Every goal for which there is a figure."""
    found = []
    if figure := results.get("click_to_ready"):
        times = figure["values"]
        against = ((PLAIN_OURS, SAME_IMAGE), (PLAIN_PLAIN, PLAIN_IMAGE))
        for ours, (theirs, limit) in itertools.product((OURS_GPU, OURS_CPU), against):
            ratio = statistics.median(ratios(times[ours], times[theirs]))
            found.append(Goal(f"Click to ready: {ours} / {theirs}", ratio, limit))
    if figure := results.get("imports"):
        times = figure["values"]
        warm = statistics.median(ratios(times[WARM], times[LOCAL]))
        found.append(Goal(f"`import torch`: {WARM} / {LOCAL}", warm, WARM_IMPORT))
    if figure := results.get("form"):
        for kind in (ALONE, TOGETHER):
            slow = 1000 * percentile(figure["values"][kind], 95)
            found.append(Goal(f"Form, {USERS} users, {kind}: 95th percentile, ms", slow, FORM_MS, 0))
    if figure := results.get("broker"):
        speed, peak = statistics.median(figure["values"]["operations_per_s"]), figure["values"]["peak_bytes"][0]
        found.append(Goal("Broker, operations a second", speed, BROKER_PER_S, 0, at_least=True))
        found.append(Goal("Broker, memory, MB", peak / 1e6, BROKER_MB, 0))
    if figure := results.get("replay"):
        busy = figure["values"][BUSY.name]
        used = statistics.median(ratios(busy[f"{OURS}: utilisation"], busy["bound"]))
        fair = statistics.median(busy[f"{OURS}: fairness"])
        late = statistics.median(ratios(busy[f"{OURS}: p95 wait"], busy[f"{PEER}: p95 wait"]))
        found.append(Goal("Busy week: utilisation / bound of any plan", used, 0.95, at_least=True))
        found.append(Goal("Busy week: Jain's index of fairness", fair, 0.95, at_least=True))
        found.append(Goal("Busy week: 95th percentile of the waits / first come, first served", late, 1.0))
    if figure := results.get("waiting"):
        slow = 1000 * percentile(figure["values"]["answer"][AMONG], 99)
        found.append(Goal(f"Smallest answer while {CROWD} wait: 99th percentile, ms", slow, WAITING_MS, 0))
    if figure := results.get("cluster"):
        found.append(Goal(*report_cluster.form_goal(figure), digits=0))
    if figure := results.get("bound"):
        found.append(Goal(*report_cluster.bound_goal(figure)))
    if figure := results.get("pipeline2d"):
        found += [Goal(what, is_, limit, at_least=more) for what, is_, limit, more in pipeline2d.goals(figure)]
    if figure := results.get("pipeline3d"):
        found += [Goal(what, is_, limit, at_least=more) for what, is_, limit, more in pipeline3d.goals(figure)]
    if figure := results.get("threads"):
        found += [Goal(what, is_, limit, at_least=more) for what, is_, limit, more in threads.goals(figure)]
    if figure := results.get("images"):
        for name, limit in IMAGE_MB.items():
            found.append(Goal(f"Image {name}, MB", figure["values"][name] / 1e6, limit, 0))
    return found


def distinct_runs(results: Results) -> list[Mapping[str, str]]:
    """The runs that figures come from, the oldest first."""
    found: list[Mapping[str, str]] = []
    for figure in results.values():
        if figure["run"] not in found:
            found.append(figure["run"])
    return sorted(found, key=lambda run: run["time"])


def in_words(breakdown: Figure) -> str:
    """What the picture of the breakdown shows, for who does not see it."""
    parts = [f"{step} {1000 * statistics.median(breakdown['values'][step]):.0f} ms" for step in STEPS]
    return f"One bar from the request to the first answer, divided into {', '.join(parts)}"


def _goals(found: Sequence[Goal]) -> list[str]:
    if not found:
        return []
    met = sum(goal.met for goal in found)
    head = f"\n## Goals\n\n{met} of {len(found)} are met.\n\n| | measured | goal | |\n|---|--:|--:|---|"
    return [head, *(goal.row() for goal in found), ""]


def _click(figure: Figure) -> list[str]:
    times: dict[str, list[float]] = figure["values"]
    rows = [f"| {kind} | {spread(values)} |" for kind, values in times.items()]
    compared = [
        f"| {ours} / {plain} | {spread(ratios(times[ours], times[plain]))} |"
        for ours in (OURS_GPU, OURS_CPU)
        for plain in (PLAIN_OURS, PLAIN_PLAIN)
    ]
    return [
        "## From click to ready\n",
        prose(
            "Seconds from the request for a session (`POST /hub/api/users/NAME/server`) to the first answer 200 of its "
            "server (`/user/NAME/api`), through the routing proxy, with the form's defaults. *Plain* is JupyterHub "
            "with DockerSpawner as it comes, in the same hub and proxy images on the same engine; the *plain image* is "
            "`pip install jupyterhub jupyterlab`. The card is one of the tests' driver: its files and device nodes are "
            "attached as those of a real one, and nothing is computed with it."
        ),
        "",
        "| session | seconds |\n|---|---|",
        *rows,
        "\n| round by round | ratio |\n|---|---|",
        *compared,
    ]


def _breakdown(figure: Figure) -> list[str]:
    return [
        "## Where the time goes\n",
        f"![{in_words(figure)}](images/bench-breakdown.svg)\n",
        "| step | seconds |\n|---|---|",
        *(f"| {step} | {spread(figure['values'][step], 3)} |" for step in STEPS),
        "",
        prose(
            "*grant*: the request is checked, a GPU granted, the home prepared, the engine asked. *create* and "
            "*start*: the engine makes the container and runs it. *import*: the server's program loads, until the hub "
            "has seen it answer. *first 200*: until the client sees it."
        ),
    ]


def _form(figure: Figure) -> list[str]:
    rows = (
        f"| {kind} | {1000 * statistics.median(values):.0f} | {1000 * percentile(values, 95):.0f} | {len(values)} |"
        for kind, values in figure["values"].items()
    )
    return [
        f"## The spawn form with {USERS} users in the hub\n",
        prose(
            "`GET /hub/spawn` of people who are signed in, over HTTPS as from a browser. The program that asks runs on "
            "the same cores."
        ),
        "",
        "| | median, ms | 95th percentile, ms | requests |\n|---|--:|--:|--:|",
        *rows,
    ]


def _broker(figure: Figure) -> list[str]:
    return [
        "## The broker\n",
        prose(
            f"{DEVICES:,} devices of {len(MODELS)} models and {broker.USERS:,} users, of whom one after the other asks "
            f"for up to four devices for up to eight hours; about {RUNNING} sessions run, and hundreds of users wait. "
            "An operation is a call of the broker: to ask, to serve the queue, to confirm or to release. One core, "
            f"nothing but the broker: {spread(figure['values']['operations_per_s'], 0)} operations a second."
        ),
    ]


def _replay(figure: Figure) -> list[str]:
    rows = [_week(scene, figure["values"][scene.name], name) for scene in SCENES for name in (OURS, PEER)]
    columns = ("week", "queue", "utilisation", "bound", "fairness", "median wait", "95th percentile")
    return [
        f"## A week with {GPUS} GPUs, replayed\n",
        prose(
            "SYNTHETIC users: every fifth wants up to four GPUs for six hours in the mean, the others mostly one for "
            "an hour; each has one session at a time and wants the next one some hours after the last has ended. "
            "What they want is drawn beforehand and is the same for both queues; times are virtual. *Demand* is the "
            "GPU time that they would use if nobody ever waited, as a part of what there is; *bound* is what no plan "
            "exceeds, even one that knows everything beforehand: up to any moment nobody has used more than without "
            "ever waiting, and from then on no more than all GPUs are used. *Fairness* is Jain's index of the GPU "
            "time that each got, divided by the fair share (max-min, by what each wanted): 1 where all got the same "
            "part of it. Waits are in hours; who never got a "
            "turn counts as having waited to the end of the week."
        ),
        "",
        f"| {' | '.join(columns)} |\n|---|---|--:|--:|--:|--:|--:|",
        *rows,
        f"\n![{waits_in_words(figure)}](images/bench-waits.svg)",
    ]


def _week(scene: Scene, found: Mapping[str, list[float]], name: str) -> str:
    def median(what: str) -> float:
        return statistics.median(found[what])

    return (
        f"| {scene.name}: {scene.users} users, demand {median('demand'):.2f} | {name} | "
        f"{median(f'{name}: utilisation'):.2f} | {median('bound'):.2f} | {median(f'{name}: fairness'):.2f} | "
        f"{median(f'{name}: median wait') / 3600:.1f} | {median(f'{name}: p95 wait') / 3600:.1f} |"
    )


def waits_in_words(figure: Figure) -> str:
    """What the picture of the waits shows, for who does not see it."""
    parts = [
        f"{name}: half within {waits[50] / 3600:.1f} hours, 95 % within {waits[95] / 3600:.1f}"
        for name, waits in figure["values"]["waits_s"].items()
    ]
    return f"Which part of the sessions of a busy week waited how long. {'; '.join(parts)}"


def _waiting(figure: Figure) -> list[str]:
    answers, sessions = figure["values"]["answer"], figure["values"]["session"]
    rows = (
        f"| {situation} | {1000 * statistics.median(answers[situation]):.1f} "
        f"| {1000 * percentile(answers[situation], 99):.1f} | {spread(sessions[situation])} |"
        for situation in (ALONE_IN_HUB, AMONG)
    )
    return [
        f"## While {CROWD} users wait for a GPU\n",
        prose(
            "`GET /hub/health`, the hub's smallest answer, through both proxies, one after the other with pauses of "
            "10 ms: it is late by at least as much as the hub's event loop is. And a session without a GPU, from the "
            "request to the hub's word that it is ready. The program that asks runs on the same cores."
        ),
        "",
        "| | answer: median, ms | 99th percentile, ms | session, s |\n|---|--:|--:|--:|",
        *rows,
    ]


def _building(figure: Figure) -> list[str]:
    values = figure["values"]
    text = (
        f"`sciencebox-stack build` of the release without CUDA, {values['bytes'] / 1e9:.1f} GB with all four "
        f"environments: {values['first']:.0f} seconds with every package fetched, and {values['again']:.1f} seconds "
        "again, where nothing changed."
    )
    return ["## Building the stack\n", textwrap.fill(text, 120)]


def _publishing(figure: Figure) -> list[str]:
    values = figure["values"]
    size = values["bytes"]
    rows = [
        f"| {name} | {spread(values[key], 1)} | {size / 1e6 / statistics.median(values[key]):.0f} | "
        f"{values['files'] / statistics.median(values[key]):,.0f} |"
        for name, key in (("`sciencebox-stack publish`", "publish"), ("`tar \\| zstd -3`", "tar | zstd"))
    ]
    text = (
        f"The test stack, {values['files']:,} files of {size / 1e9:.1f} GB together. Publishing compresses, names and "
        "stores each file and writes the signed catalogs; the packed archive is what a copy by hand would be."
    )
    after = (
        f"Published again without a change: {spread(values['again'], 1)} seconds. The repository takes "
        f"{values['stored_bytes'] / 1e9:.2f} GB, the archive {values['packed_bytes'] / 1e9:.2f} GB. A second release "
        f"that differs in one package (pandas) adds {values['second_release_bytes'] / 1e6:.0f} MB."
    )
    head = [
        "## Publishing the stack\n",
        textwrap.fill(text, 120),
        "\n| | seconds | MB/s | files/s |\n|---|---|--:|--:|",
    ]
    ratio = spread(ratios(values["publish"], values["tar | zstd"]))
    return [*head, *rows, f"\nPublish / tar, round by round: {ratio}.", textwrap.fill(after, 120)]


def _imports(figure: Figure) -> list[str]:
    text = (
        "Seconds of `python -c 'import torch'` in a new process. The client is the one of the test tools, which "
        "fetches and unpacks one object after the other; CERN's own is faster with an empty cache."
    )
    rows = [f"| {name} | {spread(times)} |" for name, times in figure["values"].items()]
    return ["## Starting from the stack\n", textwrap.fill(text, 120), "\n| the stack is | seconds |\n|---|---|", *rows]


def _deploy_again(figure: Figure) -> list[str]:
    return ["## `make deploy` again\n", f"Where nothing changed: {spread(figure['values'], 1)} seconds."]


def _deploy_cold(figure: Figure) -> list[str]:
    return [
        "## `make deploy` for the first time\n",
        f"On an engine without any image, each one built: {figure['values'][0]:.0f} seconds. The stack was there.",
    ]


def _images(figure: Figure) -> list[str]:
    rows = (f"| {name} | {size / 1e6:.0f} | {IMAGE_MB.get(name, '')} |" for name, size in figure["values"].items())
    return ["## Sizes of the images\n", "| image | MB | at most |\n|---|--:|--:|", *rows]


def _origin(figure: Figure, run: int) -> str:
    rounds = figure["rounds"]
    trial = ", a quick trial" if figure["quick"] else ""
    return f"Run {run}, {'once' if rounds == 1 else f'{rounds} rounds'}{trial}."


def _runs(runs: Sequence[Mapping[str, str]]) -> list[str]:
    if not runs:
        return ["Nothing was measured yet.\n"]
    lines = ["## Runs\n"]
    for number, run in enumerate(runs, 1):
        conditions = (
            f"{number}. {run['time']}, `{run['command']}`: {run['machine']}; {run['engine']}; {run['versions']}. "
            f"Load average before: {run['load']}."
        )
        lines.append(prose(conditions, "   "))
    return [*lines, ""]
