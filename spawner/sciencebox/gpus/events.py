"""Tells the XID errors of some GPUs as they happen: a program of its own, which the hub runs while they are in use.

`python -m sciencebox.gpus.events LIBRARY UUID ...` writes a line `UUID XID` for each error. It is a process, not a
thread, because a driver that hangs holds up nothing else then, and because NVML keeps every card of the server in use
from its initialisation on: while this runs, none can be reset. (Initialised so that it attaches no card, it knows none:
driver 580 on an H100.)
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pynvml

from sciencebox.gpus import inventory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOOK_EVERY_MS = 1000


def watch(library: str, uuids: Sequence[str]) -> Iterator[tuple[str, int]]:
    """UUID and XID of each error, for as long as this program's parent lives. Raises NVMLError and OSError."""
    parent = os.getppid()
    inventory.load(library)
    pynvml.nvmlInit()
    events = pynvml.nvmlEventSetCreate()
    known: dict[int | None, str] = {}
    for uuid in uuids:
        with suppress(pynvml.NVMLError):  # a card that is lost, or whose driver knows no events, has signs of its own
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
            known[_address(handle)] = uuid
    while os.getppid() == parent:
        if event := _next(events):
            # A card that has just fallen off the bus may not tell what it is called any more.
            uuid = known.get(_address(event.device)) or pynvml.nvmlDeviceGetUUID(event.device)
            yield uuid, int(event.eventData)


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def _next(events: Any) -> Any:
    try:
        return pynvml.nvmlEventSetWait_v2(events, LOOK_EVERY_MS)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_TIMEOUT:
            return None
        raise


def main(library: str, *uuids: str) -> None:
    """Write errors as they happen, until the parent is gone."""
    try:
        for uuid, xid in watch(library, uuids):
            print(uuid, xid, flush=True)
    except (pynvml.NVMLError, OSError) as error:
        sys.exit(f"The driver's errors cannot be heard: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
