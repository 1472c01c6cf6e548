"""The figures of a study in 3D together with everything that has to be said along with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brainmri.metrics import Interval
from brainmri.progress import spoken
from brainmri.results import caveats
from brainmri.segmentation3d import measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brainmri.data import Source
    from brainmri.segmentation3d.inference import Answer
    from brainmri.segmentation3d.measure import Comparison, Found, Labels
    from brainmri.segmentation3d.samples import Sample

MUCH = 0.25  # uncertain, by what was found
NAMED = 5  # cases, before the rest is counted


@dataclass(frozen=True)
class Result:
    """How well a network found the regions of patients that it never saw, and under which circumstances.

    `found` has the figures of each case by its name, `patients` the patient of each in the same order. `weights` are
    those of the network that answers, without what only helped it to learn. Pieces of less than `smallest_ml` were not
    taken for anything.
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
    smallest_ml: float = 0.0

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

    def labels(self, sample: Sample, answer: Answer) -> Labels:
        """What was found in a case, on the network's grid, without the pieces that were too small to count."""
        return measure.cleaned(measure.labelled(answer.probability), self.smallest_ml, sample.spacing**3 / 1000)

    def doubts(self, asked: Sequence[Sample], answers: Sequence[Answer]) -> list[str]:
        """In which cases the ways of asking contradict each other in much of what was found, in words."""
        if not any(answer.spread.any() for answer in answers):
            return ["Each case was asked about in one way: how sure the network is of a place is not known."]
        high = {}
        for sample, answer in zip(asked, answers, strict=True):
            unsure, found = float(answer.unsure.sum()), float((self.labels(sample, answer) > 0).sum())
            if unsure > MUCH * found:
                ml = sample.spacing**3 / 1000
                said = f"{sample.case.name} ({unsure * ml:.1f} ml, beside {found * ml:.1f} ml that were found)"
                high[said] = unsure / max(found, 1.0)
        rule = (
            "A place is called uncertain where the answers about it, mirrored and not, have a standard deviation above "
            f"{measure.UNCERTAIN:g}."
        )
        if not high:
            return [rule, f"In no case that is more than {MUCH:.0%} of what was found."]
        worst = sorted(high, key=lambda said: -high[said])
        more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
        return [
            rule,
            f"That is more than {MUCH:.0%} of what was found in {len(high)} of {len(asked)} cases: "
            f"{', '.join(worst[:NAMED])}{more}. Do not rely on what was found there.",
        ]

    def told(self) -> dict[str, str]:
        """The figures of each region in words, by what they are."""
        return {
            f"{region[0].upper()}{region[1:]}: {what}": said
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
