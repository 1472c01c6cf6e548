"""A proxy for JupyterHub inside the hub's own process, where no configurable-http-proxy is at hand.

It forwards by the longest matching route, as that does; without WebSockets.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from jupyterhub.proxy import Proxy
from tornado.httpclient import HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import Application, RequestHandler
from traitlets import Dict

_OWN = {"content-length", "transfer-encoding", "connection", "content-encoding"}  # headers of one hop


class _Forward(RequestHandler):
    def initialize(self, proxy: LittleProxy) -> None:
        self.proxy = proxy

    def check_xsrf_cookie(self) -> None:
        """That is for the server behind."""

    async def _forward(self, *_: str) -> None:
        target = self.proxy.target(self.request.path)
        if target is None:
            self.send_error(503)
            return
        headers = self.request.headers.copy()
        headers.add("X-Forwarded-For", "127.0.0.1")
        headers.add("X-Forwarded-Proto", "http")
        answer = await self.proxy.client.fetch(
            HTTPRequest(
                f"{target}{self.request.uri}",
                self.request.method,
                headers,
                self.request.body or None,
                follow_redirects=False,
                allow_nonstandard_methods=True,
                request_timeout=60,
                decompress_response=False,
            ),
            raise_error=False,
        )
        self.set_status(answer.code)
        for name, value in answer.headers.get_all():
            if name.lower() not in _OWN:
                (self.add_header if name.lower() == "set-cookie" else self.set_header)(name, value)
        if answer.body and answer.code not in {204, 304}:
            self.write(answer.body)

    get = post = put = delete = head = patch = options = _forward


class LittleProxy(Proxy):
    """Routes of one hub, served on the hub's public port."""

    should_start = True
    routes: Any = Dict()

    async def start(self) -> None:
        self.client = SimpleAsyncHTTPClient(force_instance=True, max_clients=100)
        place = urlsplit(self.app.bind_url)
        self._server = Application([(r".*", _Forward, {"proxy": self})]).listen(place.port, place.hostname)

    def stop(self) -> None:
        self._server.stop()

    def target(self, path: str) -> str | None:
        """Where a path leads: scheme, host and port."""
        fitting = [spec for spec in self.routes if path.startswith(spec) or f"{path}/" == spec]
        if not fitting:
            return None
        found = urlsplit(self.routes[max(fitting, key=len)]["target"])
        return f"{found.scheme}://{found.netloc}"

    async def add_route(self, routespec: str, target: str, data: Any) -> None:
        self.routes = {**self.routes, routespec: {"routespec": routespec, "target": target, "data": data}}

    async def delete_route(self, routespec: str) -> None:
        self.routes = {spec: route for spec, route in self.routes.items() if spec != routespec}

    async def get_all_routes(self) -> Any:
        return self.routes
