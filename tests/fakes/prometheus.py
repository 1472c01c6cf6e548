"""A web server that answers as Prometheus' HTTP API does (/api/v1/query), with figures as of NVIDIA's DCGM exporter.

The cards do not exist: a test says what is told of them.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_NAMES = {
    "util": "DCGM_FI_DEV_GPU_UTIL",
    "active": "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "memory": "DCGM_FI_DEV_FB_USED",
    "temperature": "DCGM_FI_DEV_GPU_TEMP",
    "power": "DCGM_FI_DEV_POWER_USAGE",
    "energy": "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
}


def series(
    pod: str, uuid: str, *, namespace: str = "hub", instance: str = "", honoured: bool = True, **values: Any
) -> list[dict[str, Any]]:
    """What is told of one card of a pod; `honoured` is whether Prometheus keeps the exporter's labels as they are."""
    own = {"pod": "dcgm-exporter-x7k2p", "namespace": "monitoring"}
    of_pod = {"pod": pod, "namespace": namespace}
    labels = of_pod if honoured else {**own, **{f"exported_{name}": value for name, value in of_pod.items()}}
    part = {"GPU_I_ID": instance, "GPU_I_PROFILE": "1g.10gb"} if instance else {}
    return [
        {
            "metric": {"__name__": _NAMES[name], "UUID": uuid, "Hostname": "gpu-a", **part, **labels},
            "value": [1_790_000_000.0, str(value)],
        }
        for name, value in values.items()
        if value is not None
    ]


def answer(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The answer to an instant query."""
    return {"status": "success", "data": {"resultType": "vector", "result": list(found)}}


class LittlePrometheus:
    """`told` is what it knows, `asked` has every query.

    `status` other than 200 is an error in its form; `page` is what stands there instead of it. `token` is what it wants
    to be asked with, if anything.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.told: list[dict[str, Any]] = []
        self.status = 200
        self.page = ""
        self.token = ""
        self.asked: list[str] = []

    def answer(self, query: str) -> dict[str, Any]:
        """What it answers: of series, those that the selectors of a query name."""
        self.asked.append(query)
        if self.status != 200:
            return {"status": "error", "errorType": "unavailable", "error": "it only pretends"}
        return answer([one for one in self.told if any(_matches(one, each) for each in query.split(" or "))])


def _matches(one: dict[str, Any], selector: str) -> bool:
    matchers = re.findall(r'(\w+)(=~|=)"([^"]*)"', selector)
    return all(re.fullmatch(wanted, one["metric"].get(label, "")) for label, _, wanted in matchers)


@contextmanager
def running(certificate: Path | None = None) -> Iterator[LittlePrometheus]:
    """One on this machine, until the context ends; with TLS where a file has a certificate with its key."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            known = asked.path == "/api/v1/query"
            if little.token and self.headers["Authorization"] != f"Bearer {little.token}":
                self.send_response(401)
                self.end_headers()
                return
            text = little.page or json.dumps(little.answer(parse_qs(asked.query)["query"][0]))
            self.send_response(little.status if known else 404)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    little = LittlePrometheus(f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield little
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
