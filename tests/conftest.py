"""What all tests share: the parts that a machine may lack, and an account at the end of what was skipped for it.

With CI=true a skipped test is a failure: there, every part has to be present.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.engine import rig
from tests.fakes.driver.fake import FakeDriver, buildable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
STACK_TOOL = ROOT / "tests/tools/stack.sh"
# Tests that need the most come last, so that a mistake in a unit is told first.
BESIDE_THE_ENGINES = ("unit", "gpu", "stack", "kube", "notebooks", "networks")
# There are two engines, and one deployment at a time on each: what needs one of them is one group, which one worker
# does while others do the rest file by file. Debian's engine has its tests for itself (tests/debian.py).
ON_DEBIANS_ENGINE = ("images", "deploy", "distribution", "chaos")
ON_THE_ENGINE = ("engine", "deployed", "browser", "stack/test_mount.py")  # the latter publishes as those do
# Pages of a hub that pretends its sessions.
BESIDE_THE_ENGINES_TOO = tuple(f"browser/test_{name}.py" for name in ("form_page", "gpus_page", "look", "queue_page"))

MESSAGE = 300  # characters of what a test failed with, to be told at once
BEHIND = 10  # the niceness of what does not go first

CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

# A slow machine is no mistake in what is tested.
hypothesis.settings.register_profile(
    "sciencebox", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("sciencebox")

_account = pytest.StashKey["Account"]()


def stack_folder() -> Path:
    """Where `make test-tools` publishes the software stack."""
    done = subprocess.run([STACK_TOOL, "--path"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the account."""
    config.stash[_account] = Account(config)
    config.pluginmanager.register(config.stash[_account])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order by folder. Several workers begin with what takes longest: the others fit beside it, to the end."""
    order = BESIDE_THE_ENGINES + ON_DEBIANS_ENGINE + ON_THE_ENGINE
    if hasattr(config, "workerinput"):
        order = ON_THE_ENGINE + ON_DEBIANS_ENGINE + BESIDE_THE_ENGINES[::-1]
    places = {name: place for place, name in enumerate(order)}

    def place(item: pytest.Item) -> int:
        file = item.path.relative_to(ROOT / "tests")
        return places.get(str(file), places.get(file.parts[0], len(order)))

    items.sort(key=place)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """What is of one group runs on one worker."""

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid.split("::", maxsplit=1)[0].removeprefix("tests/"))

    return Groups(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where there are several workers, that with the longest group goes first: the others fit beside it."""
    if hasattr(item.config, "workerinput"):
        first = group(str(item.path.relative_to(ROOT / "tests"))) == "engine"
        with suppress(PermissionError):  # only root may go back to the front
            os.setpriority(os.PRIO_PROCESS, 0, 0 if first else BEHIND)


def group(file: str) -> str:
    """Which tests may not run side by side with those of `file`, a path below tests/."""
    names = {file, file.split("/", maxsplit=1)[0]}
    if file in BESIDE_THE_ENGINES_TOO:
        return file
    if names & set(ON_DEBIANS_ENGINE):
        return "debian"
    return "engine" if names & set(ON_THE_ENGINE) else file


class Account:
    """Counts why tests were skipped, from the reports, which come from wherever the tests ran.

    What fails is told at once, in a line, so that a run that is cut short says why.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.skipped: dict[str, int] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a report."""
        terminal = self.config.pluginmanager.getplugin("terminalreporter")  # not in a worker
        if report.failed and terminal:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = " ".join((crash.message if crash else report.longreprtext).split())
            terminal.ensure_newline()
            terminal.write_line(f"{report.nodeid}, {report.when}: {message[:MESSAGE]}")
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            self.skipped[reason] = self.skipped.get(reason, 0) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what this machine lacks, and how to get it."""
    skipped = config.stash[_account].skipped
    if not skipped:
        return
    terminalreporter.section("Skipped, because this machine lacks something")
    for reason, count in sorted(skipped.items()):
        terminalreporter.line(f"  {count:4} test{'' if count == 1 else 's'}: {reason}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI nothing may be skipped."""
    if os.environ.get("CI") == "true" and session.config.stash[_account].skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> FakeDriver:
    """An NVIDIA driver with two cards that do not exist. Its files are real files, its nodes real nodes."""
    if os.geteuid() != 0 or not buildable():
        pytest.skip("the driver for the tests needs root and gcc (Debian: apt-get install gcc libc6-dev)")
    root = tmp_path_factory.mktemp("nvidia") / "driver"
    for folder in (root.parents[1], root.parent):
        folder.chmod(0o755)  # sessions read the driver's files as users of their own
    return FakeDriver.build(root, gpus=2)


@pytest.fixture(scope="session")
def cdi_engine(driver: FakeDriver) -> Iterator[rig.Engine]:
    """The container engine with CDI, which knows the cards of the tests' driver."""
    try:
        with rig.running(rig.cached()) as engine:
            rig.write_cdi_spec(driver.root, engine.cdi)
            yield engine
    except rig.RigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the system. It ends with its file, for Playwright's event loop is in the way of other tests'."""
    sync_api = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
