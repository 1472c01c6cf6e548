"""GPUs and queue for Prometheus, beside JupyterHub's own figures at `/hub/metrics`."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sciencebox.gpus.broker import Refusal
from sciencebox.gpus.device import Health

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from sciencebox.gpus.broker import Grant
    from sciencebox.gpus.device import Device
    from sciencebox.sessions.desk import Desk

_MINUTE, _HOUR = 60, 3600
WAITS_S = (1, 10, _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 3 * _HOUR, 8 * _HOUR, 24 * _HOUR, 72 * _HOUR)


class Metrics(Collector):
    """Reads the desk whenever Prometheus asks, and counts its answers."""

    def __init__(self, desk: Desk, registry: CollectorRegistry) -> None:
        self._desk = desk
        self._grants = Counter("sciencebox_gpu_grants", "Sessions that were given GPUs.", registry=registry)
        self._refusals = Counter(
            "sciencebox_gpu_refusals", "Sessions that were refused GPUs, by reason.", ["reason"], registry=registry
        )
        self._waits = Histogram(
            "sciencebox_gpu_wait_seconds",
            "Time from asking for GPUs to having them.",
            buckets=WAITS_S,
            registry=registry,
        )
        registry.register(self)

    def answered(self, answer: Grant | Refusal, waited_s: float) -> None:
        """A session that asked for GPUs was answered."""
        if isinstance(answer, Refusal):
            self._refusals.labels(answer.code).inc()
        else:
            self._grants.inc()
            self._waits.observe(waited_s)

    def collect(self) -> Iterable[Metric]:
        """GPUs by model and state (each GPU in one state), and who waits."""
        held = {holding.uuid for holding in self._desk.broker.holders()}
        unfit = self._desk.broker.unfit()
        tally = Tally((device.kind, self._state(device, held, unfit)) for device in self._desk.inventory.devices)
        gpus = GaugeMetricFamily("sciencebox_gpus", "GPUs by model and state.", labels=["model", "state"])
        for kind in {device.kind for device in self._desk.inventory.devices}:
            for state in ("free", "held", "quarantined", "unavailable"):
                gpus.add_metric([kind, state], tally[(kind, state)])
        queued = GaugeMetricFamily("sciencebox_gpu_queue_length", "Sessions that wait for GPUs.")
        queued.add_metric([], len(self._desk.room))
        readable = GaugeMetricFamily(
            "sciencebox_gpus_readable", "Whether driver and engine answer; else no GPU is granted."
        )
        readable.add_metric([], float(self._desk.broker.readable))
        return [gpus, queued, readable]

    @staticmethod
    def _state(device: Device, held: Iterable[str], unfit: Iterable[str]) -> str:
        if device.uuid in held:
            return "held"
        if device.health is Health.QUARANTINED:
            return "quarantined"
        divided = device.mig_enabled and not device.mig_profile
        return "unavailable" if device.uuid in unfit or divided else "free"
