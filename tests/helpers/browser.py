"""A real browser, headless, on a server of the viewer: `shown` starts the server, `opened` a page of it."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.paths import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S*token=[\w-]+")
# Headless pages may start sound by themselves, as after a click; root needs --no-sandbox.
ARGUMENTS = ("--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage")


def chromium() -> str:
    """The path of a Chromium or Chrome; skips the test if there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no chromium on the path")


@contextmanager
def shown(data: Path, *options: str) -> Iterator[str]:
    """`python -m tools.show` on a data folder, on a free port; gives the address with its token."""
    command = [sys.executable, "-m", "tools.show", "--data", str(data), "--port", "0", *options]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if match := ADDRESS.search(line):
                yield match.group()
                return
        raise AssertionError(f"the viewer did not start: {''.join(lines)}")
    finally:
        server.terminate()
        server.wait(10)


@contextmanager
def opened(
    url: str, *, width: int = 1280, height: int = 800, dark: bool = False, errors_expected: bool = False
) -> Iterator["Page"]:
    """A page of the viewer. At its end the test fails if the page had errors, unless they are expected."""
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
        page.on("pageerror", lambda error: errors.append(f"error: {error}"))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(url)
        try:
            yield page
        finally:
            browser.close()
    assert errors_expected or not errors, errors


def until(page: "Page", expression: str, *, timeout_s: float = 20) -> None:
    """Waits until an expression of JavaScript is true. The page's own rules forbid what Playwright does for this."""
    end_s = time.monotonic() + timeout_s
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < end_s, f"not true within {timeout_s} s: {expression}"
        page.wait_for_timeout(30)
