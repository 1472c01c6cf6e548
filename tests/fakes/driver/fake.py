"""A fake NVIDIA driver on disk, whose cards a test changes while programs use it. `state.h` has the keys."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

BUILD = Path(__file__).parent / "build.sh"
NVML = "libnvidia-ml.so.1"


def uuid(index: int) -> str:
    """The UUID that a card has unless a test gives it another."""
    return f"GPU-00000000-0000-4000-8000-{index:012}"


def buildable() -> bool:
    """Whether there is a compiler to build it with."""
    return shutil.which("gcc") is not None


@dataclass(frozen=True)
class FakeDriver:
    """The driver under `root`, as the driver's packages would put it under /."""

    root: Path

    @classmethod
    def build(cls, root: Path, gpus: int = 2) -> FakeDriver:
        """Compile the libraries and, as root, make the device nodes."""
        subprocess.run([BUILD, root, str(gpus)], check=True)
        return cls(root)

    @property
    def libraries(self) -> Path:
        return self.root / f"usr/lib/{platform.machine()}-linux-gnu"

    @property
    def nvml(self) -> str:
        return str(self.libraries / NVML)

    @property
    def dev(self) -> Path:
        return self.root / "dev"

    def set(self, values: dict[str, object]) -> None:
        """Change the state; a value of None removes the key."""
        file = self.libraries / "nvml.state"
        lines = (line.partition("=") for line in file.read_text().splitlines())
        state = {key: value for key, _, value in lines} | values
        new = file.with_suffix(".new")
        new.write_text("".join(f"{key}={value}\n" for key, value in state.items() if value is not None))
        new.replace(file)
