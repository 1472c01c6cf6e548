"""Run by IPython when a kernel of a cuda release starts: does the server's driver fit this environment's libraries?

It takes milliseconds, initialises no GPU, and says nothing where all is well. It is copied into the release as it is,
so it imports nothing of this package.
"""

STUB = 34  # CUDA_ERROR_STUB_LIBRARY: what each call of the library answers that NVIDIA's toolkit has for linking


def problem(needed: str, maps: str = "/proc/self/maps") -> str:
    """A sentence on why no GPU will be used, else an empty one. ``needed`` is the environment's CUDA version."""
    import ctypes

    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ""  # a session without a GPU
    with open(maps, encoding="utf-8") as file:  # noqa: PTH123  pathlib takes longer to import than all of this
        loaded = next((line.split()[-1] for line in file if "/libcuda.so" in line), "libcuda.so.1")
    version = ctypes.c_int()
    told = library.cuDriverGetVersion(ctypes.byref(version)) if hasattr(library, "cuDriverGetVersion") else STUB
    if loaded.startswith("/cvmfs/") or told == STUB:
        return f"{loaded} is no driver but a stub, and hides the driver: no GPU will be found. Remove it from the path."
    if told != 0:
        return f"{loaded} does not tell its version: the driver of this server does not work. Tell your administrator."
    major, minor = version.value // 1000, version.value % 1000 // 10
    wanted = needed.split(".", maxsplit=1)[0]
    if int(wanted) <= major:
        return ""
    return (
        f"This environment's CUDA {needed} needs a driver for CUDA {wanted} or newer; this server's ({loaded}) serves "
        f"CUDA {major}.{minor}. It computes on the CPU until your administrator upgrades the driver."
    )


def _watch() -> None:
    """Say it with the first cell that is run: what a kernel prints before is shown nowhere."""
    import os
    import sys

    shell = globals().get("get_ipython", lambda: None)()
    sentence = problem(os.environ["SCIENCEBOX_CUDA"]) if shell and os.environ.get("SCIENCEBOX_CUDA") else ""
    if not sentence:
        return

    def warn(_info: object = None) -> None:
        shell.events.unregister("pre_run_cell", warn)
        print(sentence, file=sys.stderr)

    shell.events.register("pre_run_cell", warn)


if __name__ == "__main__":
    _watch()
    del _watch, problem, STUB
