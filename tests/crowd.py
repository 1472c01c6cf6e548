"""Many users who wait for a GPU at the same time, each with an open page."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from requests.adapters import HTTPAdapter

from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service import Service

THREADS = 32


@contextmanager
def crowd(service: Service, number: int) -> Iterator[list[str]]:
    """So many users without a password of their own: the administrator asks for them, and follows their pages."""
    admin = service.admin()
    admin.http.mount(service.url, HTTPAdapter(pool_connections=1, pool_maxsize=number + THREADS))
    names = [f"student{place:03}" for place in range(number)]
    admin.ask("POST", "api/users", json={"usernames": names})  # those that are there already stay

    def ask(name: str) -> None:
        answer = admin.ask("POST", f"api/users/{name}/server", json={"gpu": "any", "gpu_count": 1})
        assert answer.ok, f"{name}: {answer.text}"

    def leave(name: str) -> None:
        admin.ask("DELETE", f"api/users/{name}/server")

    with ThreadPoolExecutor(THREADS) as threads, ExitStack() as pages:
        try:
            list(threads.map(ask, names))
            wait_until(lambda: set(names) <= set(service.waiting()), f"{number} users wait")
            for name in names:
                pages.enter_context(admin.ask("GET", f"api/users/{name}/server/progress", stream=True))
            yield names
        finally:
            list(threads.map(leave, names))
