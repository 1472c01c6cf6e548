"""The cards that the benchmarks use: those of the tests' driver, under names that no test uses.

The engine may serve a test run at the same time, whose CDI specification stays as it is: this one stands beside it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from tests.engine import rig
from tests.fakes.driver.fake import FakeDriver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UUIDS = tuple(f"GPU-00000000-0000-4000-9000-{index:012}" for index in range(2))


@contextmanager
def driver(engine: rig.Engine, folder: Path) -> Iterator[FakeDriver]:
    """A driver with two cards that the engine can hand out, for as long as this lasts."""
    made = FakeDriver.build(folder / "driver", gpus=len(UUIDS))
    made.set({f"gpu{index}.uuid": uuid for index, uuid in enumerate(UUIDS)})
    spec = yaml.safe_load(rig.write_cdi_spec(made.root, folder / "cdi").read_text())
    described = engine.cdi / "sciencebox-bench.yaml"
    described.write_text(yaml.safe_dump(by_uuid(spec)))
    try:
        yield made
    finally:
        described.unlink(missing_ok=True)


def by_uuid(spec: dict[str, Any]) -> dict[str, Any]:
    """A CDI specification without the names 0, 1 and `all`, which another specification has too."""
    return {**spec, "devices": [device for device in spec["devices"] if device["name"] in UUIDS]}
