"""The software stack that this kernel runs from: what is in it, what of it is loaded, and its other environments."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.figure import Figure

PATIENCE_S = 300
_LIBRARY = re.compile(r"lib(cu|nv|nccl)\w*")  # CUDA's libraries and the driver's
_DRIVER = re.compile(r"lib(cuda|nvidia-[a-z-]+)\.so")


@dataclass(frozen=True)
class Package:
    """One distribution of an environment."""

    environment: str
    name: str
    version: str


class StackError(RuntimeError):
    """Another environment could not do what it was asked; the message is its last line."""


def view(prefix: str = sys.prefix) -> Path | None:
    """The view that this kernel belongs to, or None outside a stack."""
    folder = Path(prefix).parent
    return folder if list(folder.glob("LCG_externals_*.txt")) else None


def packages(folder: Path) -> tuple[Package, ...]:
    """What the manifest of a view lists, by environment."""
    manifest = next(iter(folder.glob("LCG_externals_*.txt")))
    return parse_manifest(manifest.read_text(encoding="utf-8"))


def parse_manifest(text: str) -> tuple[Package, ...]:
    """The distributions of an LCG manifest: lines of name, hash, version, folder and what they need."""
    found = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(";")]
        if len(fields) >= 4 and "/releases/" in fields[3]:
            name, *rest = fields[3].split("/releases/")[1].split("/")
            # The notebooks' own package lies with the release, by environment: NAME/KEY/PLATFORM/ENVIRONMENT.
            found.append(Package(rest[2] if len(rest) > 2 else name, fields[0], fields[2]))
    return tuple(found)


def environments(folder: Path) -> tuple[str, ...]:
    """The view's environments, in the order of its manifest."""
    named = dict.fromkeys(package.environment for package in packages(folder))
    return tuple(name for name in named if (folder / name / "bin/python").exists())


def versions(listed: Iterable[Package], names: Sequence[str]) -> dict[str, str]:
    """The versions of some distributions by environment, such as 'torch 2.15.0, monai 1.6.1'."""
    told: dict[str, list[str]] = {}
    for package in listed:
        if package.name in names:
            told.setdefault(package.environment, []).append(f"{package.name} {package.version}")
    return {environment: ", ".join(found) for environment, found in told.items()}


def loaded(maps: str | None = None) -> dict[str, str]:
    """CUDA's and the driver's libraries in this process, each with its file, from the text of /proc/self/maps."""
    text = Path("/proc/self/maps").read_text(encoding="utf-8") if maps is None else maps
    files = {line.split(maxsplit=5)[5] for line in text.splitlines() if len(line.split(maxsplit=5)) == 6}
    return {name: file for file in sorted(files) if _LIBRARY.match(name := file.rsplit("/", 1)[-1])}


def origin(file: str) -> str:
    """Where a library is from: the stack, the driver, or the session's own image."""
    if file.startswith("/cvmfs/"):
        return "stack"
    return "driver" if _DRIVER.match(file.rsplit("/", 1)[-1]) else "session image"


def misplaced(libraries: Mapping[str, str]) -> list[str]:
    """Sentences on libraries that are not from where they should be; empty where all is well."""
    wrong = []
    for name, file in libraries.items():
        should = "driver" if _DRIVER.match(name) else "stack"
        if origin(file) != should:
            wrong.append(f"{name} is from {file}: it should come from the {should}.")
    return wrong


def run(folder: Path, environment: str, code: str) -> str:
    """What `code` prints in another environment of the view.

    Raises:
        StackError: it failed.
    """
    setup = folder / environment / "setup.sh"  # which also says where the environment's Java and headers are
    names = ("HOME", "USER", "TMPDIR", "LANG", "OMP_WAIT_POLICY")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    kept |= {"PATH": os.defpath, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    command = ["sh", "-c", '. "$0" && exec python -c "$1"', str(setup), code]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise StackError(f"{environment}: {said[-1]}")
    return done.stdout


def sizes(listed: Iterable[Package]) -> Figure:
    """How many distributions each environment has, and how many it shares with every other, as bars."""
    import matplotlib.pyplot as plt

    rows = list(listed)
    everywhere = {name for name, count in Counter((p.name, p.version) for p in rows).items() if count > 1}
    names = list(dict.fromkeys(package.environment for package in rows))
    figure, axes = plt.subplots(figsize=(7, 0.6 * len(names) + 1.2), layout="constrained")
    shared = [sum((p.name, p.version) in everywhere for p in rows if p.environment == name) for name in names]
    own = [sum(p.environment == name for p in rows) - common for name, common in zip(names, shared, strict=True)]
    axes.barh(names, shared, color="#9fb3c8", label="the same version in another environment, too")
    bars: Any = axes.barh(names, own, left=shared, color="#1f6f50", label="its own")
    axes.bar_label(bars, labels=[str(a + b) for a, b in zip(shared, own, strict=True)], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("distributions")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)
    plt.close(figure)
    return figure
