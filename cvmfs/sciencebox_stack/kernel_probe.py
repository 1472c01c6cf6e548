"""Run by an environment's own Python: does its kernel start and compute?

Arguments: the kernel's name and the code to run first. Prints what the kernel answered to ``1 + 1``.
"""

import importlib
import sys

KERNEL_DEADLINE_SECONDS = 120


def main(kernel: str, code: str) -> None:
    """Start ``kernel``, run ``code`` in it, print its answer to ``1 + 1``; exit with its error if it has one."""
    manager = importlib.import_module("jupyter_client.manager")
    printed: list[str] = []

    def keep(message: dict[str, dict[str, dict[str, str]]]) -> None:
        if "data" in message["content"]:
            printed.append(message["content"]["data"]["text/plain"])

    with manager.run_kernel(kernel_name=kernel, startup_timeout=KERNEL_DEADLINE_SECONDS) as client:
        reply = client.execute_interactive(
            f"{code}\n1 + 1", timeout=KERNEL_DEADLINE_SECONDS, output_hook=keep, allow_stdin=False
        )
    if reply["content"]["status"] != "ok":
        sys.exit(f"{reply['content']['ename']}: {reply['content']['evalue']}")
    sys.stdout.write("".join(printed))


if __name__ == "__main__":
    main(*sys.argv[1:])
