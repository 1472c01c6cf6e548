"""The section of the settings file about GPUs, beside `sections`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sciencebox.sections import Count, Folder, Section, Whole


class GpuShares(Section):
    """Which GPUs are divided into shares."""

    model: str = Field(description="Model, as `make doctor` names it.")
    parts: Annotated[Whole, Field(ge=2, le=48)] = Field(description="Into how many shares each is divided.")
    gpus: Count = Field(1, description="How many of that model.")


class Gpus(Section):
    """Which GPUs are offered and how they reach a session."""

    driver_root: Folder = Field(
        Path("/"), description="Where the NVIDIA driver is installed; `/` for packages and .run."
    )
    attach: Literal["auto", "cdi", "nvidia", "bind"] = Field(
        "auto",
        description="How a card is handed to a container: `cdi`, `nvidia` (the toolkit's runtime hook), `bind` (driver "
        "files and device nodes, without the toolkit) or `auto`, the best that `make doctor` finds.",
    )
    models: list[str] = Field([], description="Models that users may choose by name; empty: every model found.")
    max_per_session: Annotated[Whole, Field(ge=1, le=64)] = Field(4, description="Most GPUs that one session may hold.")
    show_holders: bool = Field(True, description="Show users who holds a busy GPU; false shows counts only.")
    shares: list[GpuShares] = Field(
        [],
        description="GPUs that several sessions have at the same time, as for a class: a list of sections with "
        "`model`, `parts` (into how many shares each is divided) and `gpus` (how many of that model; else 1). Shares "
        "are given out only where their memory is bounded; `make doctor` says whether it is.",
    )
    unsafe_sharing: bool = Field(
        False, description="Give shares out where nothing bounds their memory: one session can fill the whole GPU."
    )
    simulate: Annotated[Whole, Field(ge=0, le=16)] = Field(
        0, description="Offer this many SIMULATED GPUs instead of real ones, to show the product."
    )
