"""What Prometheus is told of GPUs and queue."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sciencebox.gpus.broker import Broker, Grant, Refusal
from sciencebox.gpus.device import Device, Health, Inventory, Load, Process
from sciencebox.gpus.pool import Holding
from sciencebox.hub.metrics import Metrics
from sciencebox.sessions.options import make_offer
from sciencebox.sessions.snapshot import Snapshot
from sciencebox.sessions.stack import View
from sciencebox.settings import Settings

if TYPE_CHECKING:
    from sciencebox.hub.base import AnyDesk

CARDS = (
    Device("GPU-0", 0, "A100"),
    Device("GPU-1", 1, "A100", load=Load(0.5, 2**30, 61, 250.0, 1000.0)),
    Device("GPU-2", 2, "A100", health=Health.QUARANTINED),
    Device("GPU-3", 3, "T4", processes=(Process(1),)),
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def desk(broker: Broker, inventory: Inventory, waiting: int = 0, views: tuple[View, ...] = ()) -> AnyDesk:
    """What the metrics read of it, with the data root at a place where nothing is published."""
    offer = make_offer(Settings(), broker.availability(), {})
    holders, unfit = broker.holders(), broker.unfit()
    seen = Snapshot(inventory, offer, holders, unfit, "cdi", "", readable=broker.readable, waiting=waiting)
    return cast(
        "AnyDesk",
        SimpleNamespace(
            snapshot=lambda: seen,
            stacks=SimpleNamespace(views=views),
            settings=Settings(data_root=Path("/nowhere/at-all")),
        ),
    )


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    """Of four cards: one held, one free, one in quarantine, one used by somebody else; three users wait."""
    broker, inventory = Broker(), Inventory(CARDS)
    broker.see_ledger([Holding("GPU-1", "ada", "s-ada")], broker.look(), 0.0)
    broker.see_inventory(inventory, broker.look())
    return Metrics(desk(broker, inventory, waiting=3), registry)


def test_each_gpu_is_in_one_state(metrics: Metrics, registry: CollectorRegistry) -> None:
    def number(model: str, state: str) -> float | None:
        return registry.get_sample_value("sciencebox_gpus", {"model": model, "state": state})

    assert [number("A100", state) for state in ("free", "held", "quarantined", "unavailable")] == [1, 1, 1, 0]
    assert [number("T4", state) for state in ("free", "held", "quarantined", "unavailable")] == [0, 0, 0, 1]
    assert registry.get_sample_value("sciencebox_gpu_queue_length") == 3
    assert registry.get_sample_value("sciencebox_gpus_readable") == 1


def test_what_a_gpu_does_is_told_with_its_user_and_what_is_not_known_is_left_out(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    ada = {"gpu": "GPU-1", "model": "A100", "user": "ada"}
    names = ("utilisation_ratio", "memory_used_bytes", "temperature_celsius", "power_watts", "energy_joules_total")
    told = [registry.get_sample_value(f"sciencebox_gpu_{name}", ada) for name in names]
    assert told == [0.5, 2**30, 61, 250.0, 1000.0]
    assert generate_latest(registry).count(b"sciencebox_gpu_utilisation_ratio{") == 1


def test_a_card_in_quarantine_is_told_as_such_while_its_session_goes_on(registry: CollectorRegistry) -> None:
    broker, inventory = Broker(), Inventory(CARDS[2:3])
    broker.see_ledger([Holding("GPU-2", "ada", "s-ada")], broker.look(), 0.0)
    broker.see_inventory(inventory, broker.look())
    Metrics(desk(broker, inventory), registry)
    assert registry.get_sample_value("sciencebox_gpus", {"model": "A100", "state": "quarantined"}) == 1
    assert registry.get_sample_value("sciencebox_gpus", {"model": "A100", "state": "held"}) == 0


def test_answers_are_counted(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.answered(Grant(CARDS[:1], "s-eva", "eva"), 90.0)
    metrics.answered(Refusal("quota", "No hours are left."), 0.0)
    assert registry.get_sample_value("sciencebox_gpu_grants_total") == 1
    assert registry.get_sample_value("sciencebox_gpu_refusals_total", {"reason": "quota"}) == 1
    assert registry.get_sample_value("sciencebox_gpu_wait_seconds_bucket", {"le": "60.0"}) == 0
    assert registry.get_sample_value("sciencebox_gpu_wait_seconds_bucket", {"le": "600.0"}) == 1
    assert b"sciencebox_gpu_wait_seconds_sum 90.0" in generate_latest(registry)


def test_whether_sessions_have_kernels_and_how_long_others_may_mount_them(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository/.cvmfswhitelist").write_bytes(b"20261126000000\nE20261226120000\nNbox.example\n--\n")
    watched = desk(Broker(), Inventory(), views=(View("SB_1", "x86_64", "/cvmfs/x"),))
    watched.settings = Settings(data_root=tmp_path)
    Metrics(watched, registry)
    assert registry.get_sample_value("sciencebox_stack_readable") == 1
    assert registry.get_sample_value("sciencebox_stack_whitelist_expiry_timestamp_seconds") == 1798286400
