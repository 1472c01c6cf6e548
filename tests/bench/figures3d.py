"""What networks for tumours in 3D reached, for docs/results.md: families side by side, and networks on other data."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from brainmri.segmentation3d import measure, report

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = """## Tumours in 3D

Core and oedema from four modalities. Each family was trained for the same number of steps and then asked, once, about
patients that nothing was learnt from or chosen by; sizes and learning rate were settled on validation cases. Intervals
are 95 % percentiles of a bootstrap over patients, the distance is the median of the 95 % Hausdorff distance, p is that
of Wilcoxon's signed-rank test over patients. Where a case lacks a region, the rule of BraTS holds. Times are those of
machines that others used as well: they say what to expect, and no more."""
ONE = """Each row is one training, one throw of dice: another seed may change the order of the families. With the Dice
loss alone a training may get stuck where one region is called nearly everywhere, or nowhere. Held against such a one,
whatever got away from there looks good: that is no measure of what a critic is worth. The GAN that learns from the
cross entropy, too, was added after this had been seen."""
COLUMNS = ("Family", "Core: Dice", "distance", "Oedema: Dice", "distance", "Whole: Dice", "Core, against the U-Net")
COLUMNS += ("Oedema, against the U-Net", "Weights", "Steps", "Seed", "Hardware", "Time")
OTHER = """### Asked about other data, as they are

Networks of the table above, without any further training, on cases of another kind. A single patient shows what may
happen, not what to expect, and says nothing about which family is better."""
OTHER_COLUMNS = ("Network", "Learnt from", "Asked about", "Cases", "Core: Dice", "Oedema: Dice", "Whole: Dice")
AGAINST = "U-Net"
ADVERSARY, ALONE = "conditional GAN", "U-Net, dice loss"  # the same network and loss, with a critic and without
PAIRS = ((ADVERSARY, ALONE), (f"{ADVERSARY}, ce + dice loss", AGAINST))


def section(results: Sequence[dict[str, Any]]) -> str:
    """The part of the document on 3D; empty where nothing was recorded."""
    studies = defaultdict(list)
    for result in results:
        if "steps" in result:
            studies[(result["data"], result["split"], result["size"], result["n"])].append(result)
    if not studies:
        return ""
    parts = [HEAD]
    for (data, split, size, count), rows in studies.items():
        parts += [
            f"{data}. Size {size}; {count} cases asked about ({split}).",
            _table(COLUMNS, [_row(r, rows) for r in rows]),
        ]
        parts += _worth(rows)
    parts.append(ONE)
    elsewhere = [result for result in results if "steps" not in result]
    if elsewhere:
        parts += [OTHER, _table(OTHER_COLUMNS, [_other(result) for result in elsewhere])]
    return "\n\n".join(parts) + "\n"


def circumstances(result: dict[str, Any]) -> tuple[Any, ...]:
    """What a result of 3D is replaced by another one of."""
    names = ("family", "data", "split", "size", "seed", "hardware", "trained_on")
    return tuple(result.get(name) for name in names)


def _row(result: dict[str, Any], rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    same = [one for one in rows if one["family"] == AGAINST and one["seed"] == result["seed"] and one is not result]
    against = [_against(result, same[0], region) if same else "" for region in ("core", "oedema")]
    core, oedema, whole = (result["regions"][region] for region in ("core", "oedema", "whole"))
    return (
        result["family"], _dice(core), _distance(core), _dice(oedema), _distance(oedema), _dice(whole), *against,
        f"{result['weights']:,}", str(result["steps"]), str(result["seed"]), result["hardware"],
        f"{result['seconds'] / 60:.0f} min",
    )  # fmt: skip


def _worth(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the critic of the GAN is worth, where its generator was also trained without."""
    by_seed = {(result["family"], result["seed"]): result for result in rows}
    said = []
    for one, alone in PAIRS:
        for (family, seed), result in by_seed.items():
            if family == one and (alone, seed) in by_seed:
                core, oedema = (_against(result, by_seed[alone, seed], region) for region in ("core", "oedema"))
                said.append(f"{one} against its generator alone ({alone}), seed {seed}: core {core}; oedema {oedema}.")
    return [" ".join(one[0].upper() + one[1:] for one in said)] if said else []


def _against(one: dict[str, Any], other: dict[str, Any], region: str) -> str:
    names = list(one["cases"])
    if one["patients"] != one["n"] or list(other["cases"]) != names:
        return ""
    dice = [[result["cases"][name][region]["dice"] for name in names] for result in (one, other)]
    return report.in_words(measure.compared(*dice, names))


def _other(result: dict[str, Any]) -> tuple[str, ...]:
    dice = (f"{result['regions'][region]['dice']:.2f}" for region in ("core", "oedema", "whole"))
    learnt, asked = (_plain(result[name]) for name in ("trained_on", "data"))
    return (f"{result['family']}, {result['size']}", learnt, asked, str(result["n"]), *dice)


def _plain(credit: str) -> str:
    return credit.removeprefix("Data: ").split(", generated from")[0]


def _dice(region: dict[str, Any]) -> str:
    missed = f", {region['missed']} missed" if region["missed"] else ""
    return f"{region['dice']:.2f} ({region['dice_low']:.2f} to {region['dice_high']:.2f}){missed}"


def _distance(region: dict[str, Any]) -> str:
    return f"{region['hausdorff_95_median']:.1f} mm"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ("---",) * len(columns), *rows])
