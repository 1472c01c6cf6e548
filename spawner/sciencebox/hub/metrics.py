"""GPUs and queue for Prometheus, beside JupyterHub's own figures at `/hub/metrics`."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sciencebox.gpus.broker import Refusal
from sciencebox.gpus.device import Health
from sciencebox.sessions.stack import whitelist_expiry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.core import Metric

    from sciencebox.gpus.broker import Grant
    from sciencebox.gpus.device import Device, Load
    from sciencebox.hub.base import AnyDesk
    from sciencebox.sessions.snapshot import Snapshot

SERVICE = "sciencebox-metrics"  # whoever has its token may read the metrics, and nothing else
SCOPES = ["read:metrics"]
_MINUTE, _HOUR = 60, 3600
WAITS_S = (1, 10, _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 3 * _HOUR, 8 * _HOUR, 24 * _HOUR, 72 * _HOUR)
_LOADS: tuple[tuple[str, str, Callable[[Load], float | None]], ...] = (
    ("utilisation_ratio", "Share of the last moments in which a GPU computed.", lambda load: load.utilisation),
    ("memory_used_bytes", "Memory in use on a GPU.", lambda load: load.memory_used_bytes),
    ("temperature_celsius", "Temperature of a GPU.", lambda load: load.temperature_c),
    ("power_watts", "Power that a GPU draws.", lambda load: load.power_w),
    ("energy_joules_total", "Energy that a GPU used since its driver was loaded.", lambda load: load.energy_j),
)


class Metrics(Collector):
    """Reads the desk whenever Prometheus asks, and counts its answers."""

    def __init__(self, desk: AnyDesk, registry: CollectorRegistry) -> None:
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
        seen = self._desk.snapshot()
        devices, held = seen.inventory.devices, {holding.uuid for holding in seen.holdings}
        tally = Tally((device.kind, self._state(device, held, seen.unfit)) for device in devices)
        gpus = GaugeMetricFamily("sciencebox_gpus", "GPUs by model and state.", labels=["model", "state"])
        for kind in {device.kind for device in devices}:
            for state in ("free", "held", "quarantined", "unavailable"):
                gpus.add_metric([kind, state], tally[(kind, state)])
        queued = GaugeMetricFamily("sciencebox_gpu_queue_length", "Sessions that wait for GPUs.")
        queued.add_metric([], seen.waiting)
        readable = GaugeMetricFamily(
            "sciencebox_gpus_readable", "Whether driver and engine, or the cluster, answer; else no GPU is granted."
        )
        readable.add_metric([], float(seen.readable))
        return [gpus, queued, readable, *self._stack(), *self._loads(seen)]

    def _stack(self) -> Iterable[Metric]:
        """Whether sessions have kernels, and how long others may mount what is published here."""
        there = GaugeMetricFamily("sciencebox_stack_readable", "Whether the software stack under /cvmfs can be read.")
        there.add_metric([], float(bool(self._desk.stacks.views)))
        yield there
        if (expires := whitelist_expiry(self._desk.settings.data_root / "repository")) is not None:
            about = "When clients begin to refuse the published repository, in seconds since 1970."
            whitelist = GaugeMetricFamily("sciencebox_stack_whitelist_expiry_timestamp_seconds", about)
            whitelist.add_metric([], expires)
            yield whitelist

    @staticmethod
    def _loads(seen: Snapshot) -> Iterable[Metric]:
        """What each GPU does and for whom, as far as its driver tells."""
        users = {holding.uuid: holding.user for holding in seen.holdings}
        for name, about, read in _LOADS:
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            metric = family(f"sciencebox_gpu_{name}", about, labels=["gpu", "model", "user"])
            for device in seen.inventory.devices:
                if (value := read(device.load)) is not None:
                    metric.add_metric([device.uuid, device.kind, users.get(device.uuid, "")], value)
            yield metric

    @staticmethod
    def _state(device: Device, held: Iterable[str], unfit: Iterable[str]) -> str:
        if device.health is Health.QUARANTINED:  # also while its session goes on
            return "quarantined"
        if device.uuid in held:
            return "held"
        return "unavailable" if device.uuid in unfit or device.is_divided else "free"
