"""`make bench`: measure, record in tests/bench/results.json, and write docs/benchmarks.md from what is recorded.

make bench                     everything that takes minutes
make bench ARGS=--quick        three rounds, to see that it works
make bench ARGS=--cold         `make deploy` with every image built anew, too
make bench ARGS=--report       only write the page again
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
from sciencebox.host import build, images
from sciencebox.host.compose import network_environment
from sciencebox.settings import Settings

from tests.bench import measure, report, service_under_test
from tests.deployed.conftest import deployed, make, stack_folder
from tests.engine import rig
from tests.fakes.driver.fake import FakeDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs/benchmarks.md"
PICTURE = ROOT / "docs/images/bench-breakdown.svg"


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the service; see the head of this file.")
    for option in ("quick", "cold", "report"):
        parser.add_argument(f"--{option}", action="store_true")
    chosen = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not chosen.report:
        try:
            with rig.running(rig.cached()) as engine:
                _measure(engine, results, rounds=3 if chosen.quick else 15, cold=chosen.cold)
        except rig.RigError as error:
            print(f"make bench: {error}", file=sys.stderr)
            return 1
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(report.page(results))
    report.draw(results["breakdown"], PICTURE)
    print(f"written: {PAGE.relative_to(ROOT)}")
    return 0


def _measure(engine: rig.Engine, results: dict[str, Any], rounds: int, *, cold: bool) -> None:
    with contextlib.closing(docker.DockerClient(base_url=engine.url, version="auto", timeout=600)) as client:
        about = _machine(client)

        def record(name: str, values: Any, **more: Any) -> None:
            today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
            results[name] = {"date": today, "machine": about, "values": values, **more}

        if cold:
            _forget_images(client)
        with _folder() as folder:
            driver = FakeDriver.build(folder / "driver", gpus=2)
            rig.write_cdi_spec(driver.root, engine.cdi)
            began = time.monotonic()
            with deployed(engine, driver, folder / "box", stack_folder()) as service:
                first = time.monotonic() - began
                began = time.monotonic()
                make("deploy", service.settings)
                times = {"again, nothing changed": time.monotonic() - began}
                if cold:
                    times = {"cold, every image built": first, **times}
                earlier = results.get("deploy", {}).get("values", {})
                record("deploy", {**earlier, **times})
                _plain_image(client)
                with service_under_test.plain(client, str(engine.socket)) as plain:
                    ours = service_under_test.ours(service)
                    record("click_to_ready", measure.click_to_ready(ours, plain, rounds, print))
                    record("breakdown", measure.breakdown(ours, client, rounds))
                    ours.http.close()
                    plain.http.close()
                record("form", measure.form_with_users(service, 200, 10 * rounds), users=200)
                record("images", measure.image_sizes(client))


def _plain_image(client: docker.DockerClient) -> None:
    """The image that ours is measured against."""
    with contextlib.suppress(docker.errors.ImageNotFound):
        client.images.get(service_under_test.PLAIN_IMAGE)
        return
    print("building the plain image")
    network = network_environment(Settings(), os.environ)
    client.images.build(
        path=str(ROOT / "tests/images/plain"), tag=service_under_test.PLAIN_IMAGE, rm=True,
        buildargs=images.build_arguments(network, ""),
    )  # fmt: skip


def _forget_images(client: docker.DockerClient) -> None:
    for tag in (*map(images.tag, reversed(images.NAMES)), build.BOOTSTRAPPED):
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.remove(tag, force=True)
    client.api.prune_builds()
    client.images.prune(filters={"dangling": True})


def _machine(client: docker.DockerClient) -> str:
    info = client.info()
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3
    engine = f"Docker {info['ServerVersion']} ({info['Driver']}, cgroup v{info.get('CgroupVersion', '1')})"
    kernel = platform.release().split("-")[0]
    cards = "no GPU: the cards are those of the tests' driver"
    return f"{os.cpu_count()} cores of {model}, {memory:.0f} GiB, Linux {kernel}, {engine}, {cards}"


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sciencebox-bench-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
