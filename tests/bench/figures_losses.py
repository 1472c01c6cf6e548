"""What each loss came to with the same network, as a part of docs/results.md: see `brainmri.segment_losses`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEAD = """### Losses compared

The same small U-Net, from the same weights and with the same batches, learnt once with each loss from masks alone, with
one learning rate for all (`brainmri compare losses`). *Dice at 0.5* calls a pixel tumour from a probability of one half
on, *Dice* from the threshold on that fits the slices best that were learnt from; what stands to the right of it belongs
to that threshold, too. *Area found* is found by true, the median of the slices."""
ONE = """One training each, on one split: as the table above shows, two seeds of one loss may be as far apart as many of
these rows. What can be read from it is which losses leave the network with hardly an answer at one half, and how much
of that a threshold makes good; 0.90 is the highest that is tried."""
COLUMNS = ("Loss", "Dice at 0.5", "Dice", "Threshold", "Sensitivity", "Area found", "Missed", "Time")


def section(results: Sequence[dict[str, Any]]) -> str:
    """The part of the document on losses; empty where nothing was recorded."""
    if not results:
        return ""
    parts = [HEAD]
    for result in results:
        rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(*named) for named in result["losses"].items())]
        parts += [_circumstances(result), "\n".join(f"| {' | '.join(cells)} |" for cells in rows)]
    return "\n\n".join([*parts, ONE])


def _circumstances(result: Mapping[str, Any]) -> str:
    return (
        f"{result['data']}. {result['learnt_from']} slices to learn from, {result['n']} of {result['groups']} other "
        f"group(s) asked about ({result['split']}), {result['epochs']} epochs, size {result['size']}, seed "
        f"{result['seed']}, {result['hardware']}."
    )


def _row(name: str, one: Mapping[str, float]) -> tuple[str, ...]:
    each = (one[figure] for figure in ("dice_at_half", "dice", "threshold", "sensitivity"))
    shown = (f"{value:.2f}" for value in each)
    return (name, *shown, f"{one['area']:.0%}", f"{one['missed']:.0f}", f"{one['seconds'] / 60:.1f} min")
