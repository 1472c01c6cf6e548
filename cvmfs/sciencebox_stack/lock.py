"""Locks: every distribution of an environment with its version and the hashes of its wheels."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .errors import StackError

if TYPE_CHECKING:
    from .release import Release
    from .uv import Uv

_STAMP = "# requirements: "
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_CUDA_RUNTIME = re.compile(r"nvidia-cuda-runtime(-cu\d+)?")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")
_VIA = re.compile(r"^\s+#\s+(?:via\s*)?(?P<parent>[A-Za-z0-9][A-Za-z0-9._-]*)\s*$")


@dataclass(frozen=True)
class Pin:
    """One locked distribution; ``parents`` are the distributions that asked for it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    parents: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Five hexadecimal digits that identify this build of the distribution, as LCG manifests show."""
        return digest(self.name, self.version, *sorted(self.hashes))[:5]


@dataclass(frozen=True)
class Lock:
    """The distributions of one environment, in the lock's order."""

    pins: tuple[Pin, ...]

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 over names, versions and hashes: comments and order do not count."""
        return digest(*sorted(f"{pin.name}=={pin.version} {' '.join(sorted(pin.hashes))}" for pin in self.pins))

    @property
    def cuda(self) -> str:
        """The CUDA version of its libraries, such as 13.2; empty where there are none."""
        found = (pin.version for pin in self.pins if _CUDA_RUNTIME.fullmatch(pin.name))
        return ".".join(next(found, "").split(".")[:2])

    def dependencies(self, name: str) -> list[Pin]:
        """What distribution ``name`` asked for."""
        return [pin for pin in self.pins if name in pin.parents]


def digest(*parts: str) -> str:
    """Hexadecimal SHA-256 over the parts, each ended by a zero byte so that they cannot run together."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.encode() + b"\0")
    return total.hexdigest()


def parse_lock(text: str) -> Lock:
    """Read a lock written by ``uv pip compile --generate-hashes``.

    Raises:
        StackError: a line pins no exact version, or a pin has no hash.
    """
    pins: list[Pin] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line and not line[0].isspace() and not line.startswith("#"):
            match = _PIN.match(line)
            if match is None:
                raise StackError(f"Line {number} of the lock pins no exact version: {line.strip()!r}.")
            pins.append(Pin(match["name"], match["version"], ()))
        elif pins:
            last = pins[-1]
            hashes, via = _HASH.findall(line), _VIA.match(line)
            parents = (via["parent"],) if via and via["parent"] != "via" else ()
            pins[-1] = Pin(last.name, last.version, (*last.hashes, *hashes), (*last.parents, *parents))
    if bare := [pin.name for pin in pins if not pin.hashes]:
        raise StackError(f"The lock has no hash for {bare[0]}.")
    return Lock(tuple(pins))


def lock_path(folder: Path, release: Release, environment: str, variant: str) -> Path:
    """Where the lock of one environment lies, beside the release file."""
    return folder / release.name / f"{environment}-{variant}.txt"


def requirements_stamp(release: Release, environment: str, variant: str) -> str:
    """First line of a lock: tells whether the release file has changed since the lock was made."""
    without = release.environments[environment].variants[variant].without
    return _STAMP + digest(release.python, *release.requirements(environment, variant), "without", *without)[:16]


def read_lock(folder: Path, release: Release, environment: str, variant: str) -> Lock:
    """Read the lock of one environment.

    Raises:
        StackError: there is none, or it was made from other requirements than the release file has now.
    """
    path = lock_path(folder, release, environment, variant)
    remedy = f"run `sciencebox-stack lock {release.name}`."
    if not path.is_file():
        raise StackError(f"There is no lock {path}; {remedy}")
    text = path.read_text(encoding="utf-8")
    if not text.startswith(requirements_stamp(release, environment, variant) + "\n"):
        raise StackError(f"{path} was made before {release.name}.toml was changed; {remedy}")
    return parse_lock(text)


def wheels_but_for(sources: tuple[str, ...]) -> list[str]:
    """What makes uv take wheels alone, and build these packages."""
    return ["--only-binary", ":all:", *(word for name in sources for word in ("--no-binary", name))]


def compile_lock(
    folder: Path, release: Release, environment: str, variant: str, uv: Uv, *, upgrade: bool = False
) -> Lock:
    """Resolve one environment and write its lock beside the release file.

    What an earlier lock pins and the release file does not name stays as it is, unless ``upgrade`` is asked for.

    Raises:
        StackError: the requirements cannot be met, or the index cannot be reached.
    """
    path = lock_path(folder, release, environment, variant)
    with TemporaryDirectory() as scratch:
        requirements, overrides, resolved = (Path(scratch) / name for name in ("in.txt", "overrides.txt", "out.txt"))
        requirements.write_text("\n".join(release.requirements(environment, variant)) + "\n", encoding="utf-8")
        without = release.environments[environment].variants[variant].without
        if path.is_file() and not upgrade:
            resolved.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        overrides.write_text("".join(f"{name} ; sys_platform == 'never'\n" for name in without), encoding="utf-8")
        uv.run(
            f"resolve {environment} ({variant})",
            [
                *("pip", "compile", requirements.name, "--overrides", overrides.name, "--output-file", resolved.name),
                *("--directory", scratch, "--generate-hashes", "--no-header", "--no-emit-index-url"),
                *wheels_but_for(release.sources(environment, variant)),
                *("--python-version", release.python, "--python-platform", release.wheels),
            ],
        )
        text = resolved.read_text(encoding="utf-8")
    lock = parse_lock(text)
    stamp = requirements_stamp(release, environment, variant)
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{stamp}\n# made by: sciencebox-stack lock {release.name}\n{text}", encoding="utf-8")
    return lock
