"""`make bench`: measure, record in tests/bench/results.json, and write docs/benchmarks.md from what is recorded.

make bench                            everything that takes minutes
make bench ARGS=--quick               three rounds, to see that it works
make bench ARGS="--only form images"  some figures; the others keep theirs
make bench ARGS=--cold                besides, the first `make deploy` on an engine without images: half an hour
make bench ARGS=--report              only write the page again
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
from sciencebox.host.steps import StepError

from tests.bench import (
    bound,
    broker,
    cards,
    cluster,
    hubs,
    machine,
    measure,
    picture,
    pipeline2d,
    pipeline3d,
    replay,
    report,
    stack,
    threads,
    waiting,
)
from tests.bench import results as records
from tests.conftest import stack_folder
from tests.deployed.conftest import deployed, make
from tests.engine import rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.fakes.driver.fake import FakeDriver
    from tests.service import Service

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs/benchmarks.md"
PICTURE = ROOT / "docs/images/bench-breakdown.svg"
WAITS = ROOT / "docs/images/bench-waits.svg"
BOUND = ROOT / "docs/images/bench-bound.svg"

NAME, PORTS = "sciencebox-bench", (11443, 11080)  # beside the tests' deployment
PARTS = (
    "building",
    "publishing",
    "imports",
    "click_to_ready",
    "breakdown",
    "form",
    "broker",
    "replay",
    "waiting",
    "deploy_again",
    "images",
    "cluster",
    "bound",
    "pipeline2d",
    "pipeline3d",
    "threads",
)
DRAWN = {"pipeline2d": pipeline2d, "pipeline3d": pipeline3d}
IN_THE_STACK = {**DRAWN, "threads": threads}  # without a container engine
ALONE = {"broker": broker.throughput, "replay": replay.compare}  # the broker by itself
ON_A_CLUSTER = {"cluster": cluster.form_on_a_cluster, "bound": bound.click_to_bound}  # without a container engine
ROUNDS, QUICK_ROUNDS = 15, 3


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the service; see the head of this file.")
    parser.add_argument("--quick", action="store_true", help="three rounds; never replaces a full measurement")
    parser.add_argument("--cold", action="store_true", help="measure the first deployment, too")
    parser.add_argument("--report", action="store_true", help="only write the page again")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="FIGURE", help=", ".join(PARTS))
    chosen = parser.parse_args()
    if not chosen.report:
        try:
            Bench(quick=chosen.quick).run(chosen.only, cold=chosen.cold)
        except (rig.RigError, StepError, AssertionError) as error:  # what the tests' own tools raise
            print(f"make bench: {error}", file=sys.stderr)
            return 1
    _write_page()
    return 0


class Bench:
    """One run of the benchmarks. Each figure is recorded as soon as it is there."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.rounds = QUICK_ROUNDS if quick else ROUNDS
        self.conditions = machine.conditions()

    def run(self, parts: tuple[str, ...], *, cold: bool) -> None:
        """Measure these figures, the cold one first: it needs an engine of its own, and no other beside it."""
        for part, measured in ALONE.items():
            if part in parts:
                _say(part)
                self.conditions |= {"engine": "no container engine", "versions": machine.ours()}
                self._record(part, measured(self.rounds, _say))
        for part, measured in ON_A_CLUSTER.items():
            if part in parts:
                _say(f"a cluster: {part}")
                self.conditions |= {"engine": "no container engine", "versions": cluster.versions()}
                self._record(part, measured(self.rounds, _say))
        if "building" in parts:
            self.conditions |= {"engine": "no container engine", "versions": machine.ours()}
            self._record("building", stack.building(self.rounds, _say), rounds=1, quick=False)
        for part, module in IN_THE_STACK.items():
            if part in parts:
                _say(part)
                self.conditions |= {"engine": "no container engine", "versions": module.versions()}
                self._record(part, module.compare(self.rounds, _say), rounds=min(self.rounds, module.MOST_ROUNDS))
        if set(parts) <= ALONE.keys() | ON_A_CLUSTER.keys() | IN_THE_STACK.keys() | {"building"}:
            return
        seconds = _cold_deployment() if cold else None
        with (
            rig.running(rig.cached()) as engine,
            contextlib.closing(_client(engine)) as client,
            _folder() as folder,
            cards.driver(engine, folder) as driver,
            _deployed(engine, driver, folder) as service,
        ):
            hubs.provide_plain_image(client)
            self.conditions |= {"engine": machine.engine(client), "versions": machine.versions(client)}
            if seconds is not None:
                self._record("deploy_cold", [seconds], rounds=1, quick=False)
            self._measure(client, engine, service, parts)

    def _measure(
        self, client: docker.DockerClient, engine: rig.Engine, service: Service, parts: tuple[str, ...]
    ) -> None:
        rounds = self.rounds
        for part, measured in (("publishing", stack.publishing), ("imports", stack.imports)):
            if part in parts:
                self._record(part, measured(rounds, _say), rounds=min(rounds, stack.MOST_ROUNDS))
        with contextlib.closing(hubs.ours(service)) as ours:
            if "click_to_ready" in parts:
                _say("click to ready")
                with hubs.plain(client, str(engine.socket)) as plain, contextlib.closing(plain):
                    self._record("click_to_ready", measure.click_to_ready(ours, plain, rounds, _say))
            if "breakdown" in parts:
                _say("breakdown")
                session = f"{NAME}-session-{measure.USER}"
                self._record("breakdown", measure.breakdown(ours, client, session, rounds, _say))
        if "form" in parts:
            _say("form")
            self._record("form", measure.form_with_users(service, rounds, _say))
        if "waiting" in parts:
            _say("waiting")
            self._record("waiting", waiting.waiting(service, rounds, _say))
        if "deploy_again" in parts:
            _say("make deploy, again")
            again = measure.deploy_again(lambda: make("deploy", service.settings), rounds, _say)
            self._record("deploy_again", again)
        if "images" in parts:
            self._record("images", measure.image_sizes(client), rounds=1, quick=False)

    def _record(self, name: str, values: Any, *, rounds: int | None = None, quick: bool | None = None) -> None:
        """`rounds` and `quick` of a figure that is the same however often it is taken."""
        figure = {
            "values": values,
            "rounds": self.rounds if rounds is None else rounds,
            "quick": self.quick if quick is None else quick,
            "run": self.conditions,
        }
        before = records.read(RESULTS)
        after = records.with_figure(before, name, figure)
        if after is before:
            _say(f"{name}: the page keeps its full measurement; this trial is not recorded")
        records.write(RESULTS, after)


def _cold_deployment() -> float:
    """Seconds of `make deploy` on an engine that has nothing."""
    with _folder() as folder:
        run = folder / "run"
        options = (f"--cdi-spec-dir={run / 'cdi'}",)
        engine = dataclasses.replace(rig.cached(), run=run, images=folder / "images", arguments=options)
        with rig.running(engine), cards.driver(engine, folder) as driver:
            _say("the next is with every image built, and takes long")
            began = time.monotonic()
            with _deployed(engine, driver, folder):
                return time.monotonic() - began


def _deployed(engine: rig.Engine, driver: FakeDriver, folder: Path) -> AbstractContextManager[Service]:
    stack = stack_folder()
    if not (stack / "lcg/views/SB_1").exists():
        raise rig.RigError("the software stack is not built; run `make test-tools`")
    _say(f"deploying {NAME}")
    return deployed(engine, driver, folder / "box", stack, NAME, PORTS)


def _write_page() -> None:
    results = records.read(RESULTS)
    if "breakdown" in results:
        picture.draw(results["breakdown"], PICTURE)
    if "replay" in results:
        picture.draw_waits(results["replay"], WAITS)
    if "bound" in results:
        picture.draw_bound(results["bound"], BOUND)
    for name, module in DRAWN.items():
        if name in results:
            module.draw(results[name], ROOT / f"docs/images/bench-{name}.svg")
    PAGE.write_text(report.page(results))
    for goal in report.goals(results):
        print(goal)
    print(f"written: {PAGE.relative_to(ROOT)}")


def _client(engine: rig.Engine) -> docker.DockerClient:
    return docker.DockerClient(base_url=engine.url, version="auto", timeout=600)


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sciencebox-bench-", dir="/var/tmp"))
    folder.chmod(0o755)  # sessions read the driver's files as users of their own
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
