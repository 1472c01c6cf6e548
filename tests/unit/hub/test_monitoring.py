"""What a site's Prometheus and Grafana are given: every figure that they ask for is one that the hub tells."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry, generate_latest
from sciencebox.gpus.broker import Grant, Refusal
from sciencebox.gpus.device import Device, Inventory, Load
from sciencebox.hub.metrics import Metrics
from sciencebox.sessions.options import make_offer
from sciencebox.sessions.snapshot import Snapshot
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parents[3] / "deploy/monitoring"


@pytest.fixture
def told(tmp_path: Path) -> set[str]:
    """The names of all that the hub tells of a GPU at work, and of a stack that is published."""
    registry = CollectorRegistry()
    inventory = Inventory((Device("GPU-0", 0, "A100", load=Load(0.5, 1, 61, 250.0, 1000.0)),))
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository/.cvmfswhitelist").write_text("20261126000000\nE20261226120000\nNbox.example\n--\n")
    seen = Snapshot(inventory, make_offer(Settings(), (), {}), (), {}, "cdi", "")
    desk = SimpleNamespace(
        snapshot=lambda: seen,
        stacks=SimpleNamespace(views=()),
        settings=Settings(data_root=tmp_path),
    )
    metrics = Metrics(desk, registry)  # type: ignore[arg-type]
    metrics.answered(Grant((), "s", "ada"), 1.0)
    metrics.answered(Refusal("quota", "none is left"), 0.0)
    return set(re.findall(r"^(sciencebox_\w+)", generate_latest(registry).decode(), re.MULTILINE))


def test_the_dashboard_asks_for_what_is_told_and_for_all_of_it(told: set[str]) -> None:
    panels = json.loads((FOLDER / "grafana.json").read_text())["panels"]
    asked = {
        name for panel in panels for one in panel["targets"] for name in re.findall(r"sciencebox_\w+", one["expr"])
    }
    assert asked <= told
    unasked = {name for name in told - asked if not re.search(r"_(created|count|sum|bucket)$", name)}
    assert unasked == {"sciencebox_gpu_grants_total"}


def test_the_dashboard_is_all_understood_by_grafana() -> None:
    register_default_plugins()
    written = json.loads((FOLDER / "grafana.json").read_text())
    understood = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
    assert not list(lost(written, understood))


def lost(written: Any, understood: Any, place: str = "") -> Iterator[str]:
    """Places of what is written and not understood; what is understood may have more, by default."""
    if isinstance(written, dict) and isinstance(understood, dict):
        for key, value in written.items():
            yield from lost(value, understood.get(key), f"{place}/{key}")
    elif isinstance(written, list) and isinstance(understood, list) and len(written) == len(understood):
        for number, pair in enumerate(zip(written, understood, strict=True)):
            yield from lost(*pair, f"{place}/{number}")
    elif written != understood:
        yield place


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((FOLDER / "grafana.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_prometheus_reads_the_hub_s_metrics_with_a_token_from_a_file() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == "/hub/metrics"
    assert set(job["authorization"]) == {"credentials_file"}
