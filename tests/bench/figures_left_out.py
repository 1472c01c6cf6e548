"""Real tumours in 3D, one patient left out at a time, as a part of docs/results.md: see `left_out`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainmri.segmentation3d import measure, report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEAD = """### Real enhancing tumours, one patient left out at a time

The small U-Net learnt from SYNTHETIC brains first, then from the scans of all patients but the one that it was asked
about (`python -m tests.bench.left_out`), half of the patches around a voxel of the tumour. One training each; nothing
was chosen by what the patients came to. Intervals are 95 % percentiles of a bootstrap over patients, distance (95 %
Hausdorff) and volume error are medians, p is that of Wilcoxon's signed-rank test over patients."""
COLUMNS = ("Learnt from", "Dice", "distance", "Sensitivity", "Volume error", "Missed", "Dice, against the first")


def section(results: Sequence[Mapping[str, Any]]) -> str:
    """The part of the document; empty where nothing was recorded."""
    if not results:
        return ""
    parts = [HEAD]
    for result in results:
        rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(name, result) for name in result["left_out"])]
        parts += [_circumstances(result), "\n".join(f"| {' | '.join(cells)} |" for cells in rows)]
    return "\n\n".join(parts)


def _circumstances(result: Mapping[str, Any]) -> str:
    edges = " x ".join(f"{edge:g}" for edge in result["spacing_mm"])
    first, then = result["steps"]
    return (
        f"{result['data']}: {result['n']} scans of {result['patients']} patients, T1 after contrast alone, in thick "
        f"slices. Their headers lost the size of the voxels; {edges} mm are assumed, and distances are as good as "
        f"that. {result['share']:.1%} of the voxels are tumour; {result['stripped']:.1%} of a tumour, in the mean, "
        f"came off with the skull and cannot be found. {result['made_up']} SYNTHETIC brains with slices as thick, "
        f"{first} steps; then {then} steps. Seed {result['seed']}, {result['hardware']}, "
        f"{result['seconds'] / 60:.0f} min."
    )


def _row(name: str, result: Mapping[str, Any]) -> tuple[str, ...]:
    one, first = result["left_out"][name], next(iter(result["left_out"]))
    return (
        name,
        f"{one['dice']:.2f} ({one['dice_low']:.2f} to {one['dice_high']:.2f})",
        f"{one['hausdorff_95_median']:.0f} mm",
        f"{one['sensitivity']:.2f}",
        f"{one['volume_error_median']:.0%}",
        f"{one['missed']} of {result['n']}",
        "" if name == first else _against(result["cases"][name], result["cases"][first]),
    )


def _against(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = list(one)
    dice = [[cases[name]["dice"] for name in names] for cases in (one, other)]
    return report.in_words(measure.compared(*dice, [name.rpartition("-")[0] for name in names]))
