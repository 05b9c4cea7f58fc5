"""Headless Chromium, driven over WebDriver's plain HTTP: no package is needed, only Debian's two."""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


class Browser:
    """A browser that shows one page.

    Args:
        address: the driver's, with the session.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def call(self, path: str, **body: Any) -> Any:
        return _post(f"{self.address}/{path}", body)

    def visit(self, path: Path) -> None:
        """Open a file."""
        self.call("url", url=path.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self.call("execute/sync", script=script, args=arguments)

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self.call("goog/cdp/execute", cmd=command, params=parameters)

    def resize(self, width: int, *, dark: bool = False) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])

    def console(self) -> list[dict[str, Any]]:
        """Return what the console has said since it was last asked."""
        return list(self.call("se/log", type="browser"))

    def requests(self) -> list[str]:
        """Return the addresses that pages asked for since this was last called; data: is none."""
        events = [json.loads(entry["message"])["message"] for entry in self.call("se/log", type="performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        addresses = [one["request"]["url"] for one in sent]
        return [one for one in addresses if not one.startswith(("data:", "chrome:"))]  # chrome: is its empty page's


@contextmanager
def opened(profile: Path) -> Iterator[Browser]:
    """Start a browser with a profile of its own; skip the test where there is no Chromium."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian's packages chromium and chromium-driver)")
    with subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            address = f"http://127.0.0.1:{_port(process)}/session"
            empty = {"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"]}
            options = {"binary": program, "args": [*FLAGS, f"--user-data-dir={profile}"], "prefs": empty}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
            session = _post(address, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(f"{address}/{session}")
            finally:  # the browser outlives its driver
                urllib.request.urlopen(
                    urllib.request.Request(f"{address}/{session}", method="DELETE"), timeout=60
                ).close()
        finally:
            process.terminate()


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rsplit(" ", 1)[1])
    raise RuntimeError(f"chromedriver ended with exit status {process.wait()}")


def _post(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)["value"]
