"""`brainmri preprocess`: what is done to whole scans, not to slices. Libraries are imported when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

SHOWN = 20  # faults


def add_to(commands: Any) -> None:
    """Add the commands to a parser."""
    preprocess = commands.add_parser("preprocess", help="make raw scans clean", description=preprocess_.__doc__)
    preprocess.add_argument("--recipe", default="default", metavar="FILE", help="JSON file, or default (which it is)")
    preprocess.add_argument("--from", dest="scans", type=Path, required=True, metavar="DIR", help="NIfTI files")
    preprocess.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder for the prepared scans")
    preprocess.add_argument(
        "--mask", default="*mask*", metavar="PATTERN", help="masks, which are carried along (*mask*)"
    )
    preprocess.add_argument("--force", action="store_true", help="write into a folder of another recipe")
    preprocess.set_defaults(run=preprocess_)


def preprocess_(options: argparse.Namespace) -> int:
    """Noise removed, light evened, brain found, grey values scaled: every NIfTI scan of a folder, by one recipe.

    Run it again with the same arguments to go on where it was interrupted: what is done is not done again.
    """
    from brainmri.progress import Progress, TerminalLine
    from brainmri.recipe import NAME, Recipe, apply_to_folder

    recipe = Recipe.default() if options.recipe == "default" else Recipe.read(Path(options.recipe))
    show = Progress("preparing", line=TerminalLine())
    done = apply_to_folder(recipe, options.scans, options.to, masks=options.mask, force=options.force, on_progress=show)
    for fault in done.faults[:SHOWN]:
        print(f"FAULT: {fault}")
    found = f", {done.found} were there" if done.found else ""
    print(f"{options.to}: {done.made} scans prepared{found}, {len(done.faults)} faults. The recipe is {NAME} there.")
    return 1 if done.faults else 0
