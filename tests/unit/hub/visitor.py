"""Somebody who visits the hub, over HTTP."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

import requests

from tests.fakes.little_hub import ANSWER_S

if TYPE_CHECKING:
    from tests.fakes.little_hub import LittleHub

PASSWORD = "quite-a-long-password"


class Visitor:
    """A browser with cookies. Answers are not followed, so that a test sees where they lead."""

    def __init__(self, hub: LittleHub) -> None:
        self.url = f"{hub.url}/hub/"
        self.http = requests.Session()
        self.http.trust_env = False

    def get(self, path: str) -> requests.Response:
        return self.http.get(self.url + path, timeout=ANSWER_S, allow_redirects=False)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """As a page's own script, with the XSRF token."""
        headers = {"X-XSRFToken": self.http.cookies.get("_xsrf", path="/hub/")}
        return self.http.request(method, self.url + path, headers=headers, timeout=ANSWER_S, **options)

    def send(self, path: str, at: str = "", **fields: str) -> requests.Response:
        """Fill in the form to this path, which is on the page `at`, and send it."""
        xsrf = re.search(r'name="_xsrf" value="([^"]+)"', self.get(at or path).text)
        data = {**fields, **({"_xsrf": xsrf[1]} if xsrf else {})}
        return self.http.post(self.url + path, data=data, timeout=ANSWER_S, allow_redirects=False)

    def approve(self, name: str, approved: str = "yes") -> requests.Response:
        """The administrator lets somebody in, or withdraws that."""
        return self.send(f"authorize/{name}", at="authorize", approved=approved)

    def sign_in(self, name: str, password: str, path: str = "login") -> requests.Response:
        return self.send(path, username=name, password=password)

    def sign_up(self, name: str, password: str = PASSWORD, again: str = "") -> requests.Response:
        return self.send(
            "signup", username=name, signup_password=password, signup_password_confirmation=again or password
        )

    def change_password(self, old: str, new: str, again: str = "") -> requests.Response:
        return self.send("change-password", old_password=old, new_password=new, new_password_confirmation=again or new)


def said(answer: requests.Response) -> str:
    """The message of a page."""
    return " ".join(unescape(text) for text in re.findall(r'role="alert">([^<]*)<', answer.text))


def is_let_in(visitor: Visitor) -> bool:
    return visitor.get("home").status_code == 200
