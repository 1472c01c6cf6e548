"""Kernels of releases that others built, such as LCG's: each starts in what its release's `setup.sh` makes.

They are described for a server that runs in that already: their program is `python`, for which Jupyter takes its own.
"""

from __future__ import annotations

from pathlib import Path

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

# In a function, the script does not take the kernel's arguments for its own.
_START = 'script=$1; shift; load() { source "$script"; }; load >&2 </dev/null; exec "$@"'


class ReleaseKernels(KernelSpecManager):
    """All kernels that Jupyter finds. Those of our own releases, which have a `tree.json`, need no script."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """See KernelSpecManager."""
        found = super().get_kernel_spec(kernel_name)
        *_, view = Path(found.resource_dir).parents[:4]  # VIEW/share/jupyter/kernels/NAME
        if (view / "setup.sh").is_file() and not (view / "tree.json").exists():
            found.argv = ["bash", "-c", _START, kernel_name, str(view / "setup.sh"), *found.argv]
        return found
