"""Keeps notes that C++ libraries write while they are loaded out of a notebook."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def native_notes_hidden() -> Iterator[None]:
    """Discard what native code writes to file descriptor 2; Python's own errors are raised as ever.

    TensorFlow writes notes on its build there before its log level can be set.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
