"""The figures of a study in 3D together with everything that has to be said along with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brainmri.metrics import Interval
from brainmri.progress import spoken
from brainmri.results import caveats
from brainmri.segmentation3d import measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brainmri.data import Source
    from brainmri.segmentation3d.measure import Comparison, Found


@dataclass(frozen=True)
class Result:
    """How well a network found the regions of patients that it never saw, and under which circumstances.

    `found` has the figures of each case by its name, `patients` the patient of each in the same order. `weights` are
    those of the network that answers, without what only helped it to learn.
    """

    family: str
    task: str
    found: Mapping[str, Mapping[str, Found]]
    patients: tuple[str, ...]
    split: str
    source: Source
    size: str
    hardware: str
    steps: int
    seconds: float
    weights: int
    seed: int

    @property
    def regions(self) -> dict[str, dict[str, Any]]:
        """Means by region."""
        return measure.summary(list(self.found.values()), self.patients, self.seed)

    @property
    def names(self) -> tuple[str, ...]:
        """The regions, without what they are together."""
        return measure.single(next(iter(self.found.values())))

    def dice(self, region: str) -> list[float]:
        """Dice of a region in each case."""
        return [one[region].dice for one in self.found.values()]

    def told(self) -> dict[str, str]:
        """The figures of each region in words, by what they are."""
        return {
            f"{region.capitalize()}: {what}": said
            for region, one in self.regions.items()
            for what, said in {
                "Dice": str(Interval(one["dice"], one["dice_low"], one["dice_high"])),
                "95 % Hausdorff distance, median": f"{one['hausdorff_95_median']:.1f} mm",
                "sensitivity": f"{one['sensitivity']:.2f}",
                "volume error, median": f"{one['volume_error_median']:.0%}",
                "missed altogether": f"{one['missed']} of {len(self.found)}",
            }.items()
        }

    def sentences(self) -> list[str]:
        """The result in words, the caveats after it."""
        each = self.regions
        told = "; ".join(
            f"{region}: Dice {Interval(one['dice'], one['dice_low'], one['dice_high'])}, 95 % Hausdorff distance "
            f"{one['hausdorff_95_median']:.1f} mm (median), {one['missed']} missed"
            for region, one in each.items()
        )
        said = [
            f"{self.source.credit}.",
            f"{self.family}, on {len(self.found)} cases of {len(set(self.patients))} patients that were never seen in "
            f"training ({self.split}), size {self.size} on {self.hardware} ({self.steps} steps in "
            f"{spoken(self.seconds)}). {told[0].upper()}{told[1:]}.",
            "Where a case lacks a region, BraTS' rule holds: right to leave it out is Dice 1, to mark it Dice 0 and "
            f"{measure.EMPTY_MM:g} mm.",
        ]
        return [*said, *caveats("patient", self.source, self.size)]

    def as_json(self) -> dict[str, Any]:
        """The result for files and programs."""
        return {
            "task": self.task,
            "family": self.family,
            "regions": self.regions,
            "n": len(self.found),
            "patients": len(set(self.patients)),
            "split": self.split,
            "data": self.source.credit,
            "size": self.size,
            "hardware": self.hardware,
            "steps": self.steps,
            "seconds": round(self.seconds),
            "weights": self.weights,
            "seed": self.seed,
            "cases": {name: measure.as_json(one) for name, one in self.found.items()},
        }


def table(results: Mapping[str, Result], against: str) -> list[dict[str, str]]:
    """A row for each way of training: its figures, and how it compares with `against` on the same patients."""
    rows = []
    for name, result in results.items():
        row = {"": name}
        for region in result.names:
            one = result.regions[region]
            row[f"{region}: Dice"] = f"{one['dice']:.3f} ({one['dice_low']:.3f} to {one['dice_high']:.3f})"
            row[f"{region}: 95 % Hausdorff"] = f"{one['hausdorff_95_median']:.1f} mm"
            row[f"{region}: sensitivity"] = f"{one['sensitivity']:.2f}"
            row[f"{region}: volume error"] = f"{one['volume_error_median']:.0%}"
            compared = None if name == against else comparison(result, results[against], region)
            row[f"{region}: against {against}"] = "" if compared is None else in_words(compared)
        row["weights"], row["training"] = f"{result.weights:,}", spoken(result.seconds)
        rows.append(row)
    return rows


def comparison(one: Result, other: Result, region: str) -> Comparison:
    """Dice of one result minus that of the other. Raises ValueError where they are about other cases."""
    if list(one.found) != list(other.found):
        raise ValueError("only answers about the same cases can be compared")
    return measure.compared(one.dice(region), other.dice(region), one.patients, one.seed)


def in_words(compared: Comparison) -> str:
    """The difference with its interval and p."""
    difference = compared.difference
    p = f"p = {compared.p:.3f}" if compared.p >= 0.001 else "p < 0.001"
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}), {p}"
