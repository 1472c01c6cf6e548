"""What the GPUs of pods do, as a Prometheus has it from NVIDIA's DCGM exporter. Pure: its answer in, loads out.

Names and units are those of dcgm-exporter's lists of counters (`etc/default-counters.csv`, and for MIG instances
`etc/dcp-metrics-included.csv`); the answer is that of Prometheus' HTTP API, /api/v1/query.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from sciencebox.gpus.device import Load

if TYPE_CHECKING:
    from collections.abc import Mapping

UTILISATION = "DCGM_FI_DEV_GPU_UTIL"  # in percent; of a MIG instance it is 0, whatever that does
ENGINE_ACTIVE = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"  # from 0 to 1, also of MIG instances
MEMORY = "DCGM_FI_DEV_FB_USED"  # in MiB
TEMPERATURE = "DCGM_FI_DEV_GPU_TEMP"  # in degrees Celsius
POWER = "DCGM_FI_DEV_POWER_USAGE"  # in watts
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"  # in millijoules, since the driver was loaded
_NAMES = (UTILISATION, ENGINE_ACTIVE, MEMORY, TEMPERATURE, POWER, ENERGY)
_MIB = 1024**2
# What DCGM writes instead of a number that it does not know (dcgm_structs.h, DCGM_FP64_BLANK and DCGM_INT64_BLANK).
_BLANK, _BLANKS, _BLANK_INTEGER = 2.0**47, 16, 2.0**62
# Where Prometheus does not honour the exporter's labels, they are there by the second name and its own by the first.
_LABELS = ("exported_", "")

Card = tuple[str, str]  # UUID, and the number of its MIG instance or nothing


def query(namespace: str) -> str:
    """The one question about all pods of a namespace, in PromQL."""
    names = "|".join(_NAMES)
    return " or ".join(f'{{__name__=~"{names}",{prefix}namespace="{namespace}"}}' for prefix in _LABELS)


def read_loads(answer: Mapping[str, Any], namespace: str) -> dict[str, tuple[Load, ...]]:
    """By pod of the namespace, what each of its GPUs does, always in the same order.

    Raises ValueError, KeyError or TypeError for what is no answer to `query`.
    """
    if answer["status"] != "success" or answer["data"]["resultType"] != "vector":
        raise ValueError(str(answer.get("error") or "not an instant vector"))
    pods: dict[str, dict[Card, dict[str, float | None]]] = {}
    for series in answer["data"]["result"]:
        labels = series["metric"]
        pod = _label(labels, "pod")
        if pod and _label(labels, "namespace") == namespace:
            card = (labels["UUID"], labels.get("GPU_I_ID", ""))
            pods.setdefault(pod, {}).setdefault(card, {})[labels["__name__"]] = _known(series["value"][1])
    holders = Counter(card for cards in pods.values() for card in cards)
    return {
        pod: tuple(_load(cards[card], part=bool(card[1]), shared=holders[card] > 1) for card in sorted(cards))
        for pod, cards in pods.items()
    }


def _label(labels: Mapping[str, str], name: str) -> str:
    return next((labels[prefix + name] for prefix in _LABELS if prefix + name in labels), "")


def _known(text: str) -> float | None:
    value = float(text)
    is_blank = not math.isfinite(value) or value >= _BLANK_INTEGER or 0 <= value - _BLANK < _BLANKS
    return None if is_blank else value


def _load(told: Mapping[str, float | None], *, part: bool, shared: bool) -> Load:
    """Of a MIG instance, heat and energy are the whole card's; of a card that pods share, its memory is so, too."""
    percent, active, memory = (None if part else told.get(UTILISATION)), told.get(ENGINE_ACTIVE), told.get(MEMORY)
    busy = active if percent is None else percent / 100
    energy, heat = told.get(ENERGY), told.get(TEMPERATURE)
    alone = not (part or shared)
    return Load(
        utilisation=None if busy is None else min(max(busy, 0.0), 1.0),
        memory_used_bytes=None if memory is None or shared else int(memory * _MIB),
        temperature_c=None if heat is None or not alone else round(heat),
        power_w=told.get(POWER) if alone else None,
        energy_j=None if energy is None or not alone else energy / 1000,
    )
