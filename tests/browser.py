"""A real browser without a window, driven by WebDriver (w3.org/TR/webdriver2), which is a few requests in JSON."""

import base64
import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

#: Seconds in which the browser has started, and then done what it was told.
TIMEOUT = 30.0

#: It stays on this machine: it looks for no updates, and needs no display. (As root it has no sandbox.)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1300,1000"),
]


class Browser:
    """One page at a time.

    Args:
        port: of chromedriver.
        profile: an empty directory.
    """

    def __init__(self, port: int, profile: Path) -> None:
        self._port = port
        options = {"args": [*FLAGS, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = ""
        self._session = (
            "/session/" + self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        )

    def open(self, url: str) -> None:
        """Go to *url*."""
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """What the body *script* of a function returns in the page."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def wait_for(self, script: str, timeout: float = TIMEOUT) -> Any:
        """:meth:`run` until what it returns is true."""
        deadline = monotonic() + timeout
        while not (value := self.run(script)):
            assert monotonic() < deadline, (
                f"never true in the page: {script}\n{self.run('return document.body.innerText')}"
            )
            sleep(0.1)
        return value

    def errors(self) -> list[str]:
        """What the page has complained of since the last time."""
        return [
            entry["message"]
            for entry in self._ask("POST", "/se/log", {"type": "browser"})
            if entry["level"] == "SEVERE"
        ]

    def screenshot(self, path: Path) -> None:
        """Put what is to be seen into *path*, a PNG."""
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def close(self) -> None:
        """End it."""
        self._ask("DELETE", "")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, self._session + path, text, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser until the end of the block; skips the test where there is none, save in CI."""
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        if "CI" in os.environ:
            raise RuntimeError("chromium and chromedriver have to be installed (Debian: chromium, chromium-driver)")
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        assert process.stdout
        while "started successfully" not in (line := process.stdout.readline()):
            assert line, f"chromedriver ended with {process.wait()}"
        made = Browser(port, folder / "profile")
        try:
            yield made
        finally:
            made.close()
    finally:
        with process:
            process.terminate()
