"""Whether a GPU may be granted, judged by what its driver tells cheaply. Pure.

What each sign means, and what helps, is in NVIDIA's "GPU Memory Error Management" and "GPU Debug Guidelines".
"""

from __future__ import annotations

from dataclasses import dataclass

from sciencebox.gpus.device import Health


@dataclass(frozen=True)
class HealthFacts:
    """Signs of one GPU; a sign that the driver does not tell is as if it were not there.

    `lost` and `unread` are reasons in words: the GPU does not answer; something that must be known before it may be
    granted could not be read. `uncorrectable_ecc` counts since the driver was loaded.
    """

    lost: str = ""
    remap_failed: bool = False
    remap_pending: bool = False
    uncorrectable_ecc: int = 0
    too_hot: bool = False
    unread: str = ""


def judge(facts: HealthFacts) -> tuple[Health, str]:
    """The state of a GPU and, unless it is healthy, why. The gravest sign speaks."""
    ecc = facts.uncorrectable_ecc
    table = (
        (
            bool(facts.lost),
            Health.QUARANTINED,
            f"it does not answer ({facts.lost}); the server may have to be restarted",
        ),
        (
            facts.remap_failed,
            Health.QUARANTINED,
            "its memory is worn out (row remapping failed); it has to be replaced",
        ),
        (
            ecc > 0,
            Health.QUARANTINED,
            f"its memory had {ecc} error{'' if ecc == 1 else 's'} that could not be corrected; it has to be reset",
        ),
        (facts.remap_pending, Health.SUSPECT, "a part of its memory waits to be replaced; it has to be reset"),
        (facts.too_hot, Health.SUSPECT, "it is too hot and slows itself down; look at the server's fans"),
        (bool(facts.unread), Health.SUSPECT, facts.unread),
    )
    return next(((state, reason) for sign, state, reason in table if sign), (Health.HEALTHY, ""))
