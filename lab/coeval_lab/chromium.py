"""Chromium without a screen, driven by Playwright: for the page's benchmark, tests and pictures."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from coeval.errors import CoevalError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 300_000


def find_chromium() -> str | None:
    """Path of the browser; None: there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name)) is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Browsing:
    """A page that is open."""

    page: Any
    """Playwright's page."""
    devtools: Any
    """Its own protocol, for what Playwright does not tell."""
    errors: list[str] = field(default_factory=list)
    """What went wrong in the page so far."""

    def cpu_s(self) -> float:
        """Processor time of all the browser's processes so far."""
        told = self.devtools.send("SystemInfo.getProcessInfo")
        return float(sum(process["cpuTime"] for process in told["processInfo"]))


@contextmanager
def browsing(
    address: str, *, width: int = 1440, height: int = 900, scheme: str = "light"
) -> Iterator[Browsing]:
    """Open an address in a browser of its own until the `with` block ends.

    Args:
        address: what to open.
        width: of the view, in CSS pixels.
        height: of the view, in CSS pixels.
        scheme: what the reader prefers, light or dark.

    Raises:
        CoevalError: there is no browser, or no Playwright.
    """
    program = find_chromium()
    if program is None:
        raise CoevalError(
            f"no browser: none of {', '.join(PROGRAMS)} is on PATH; apt-get install chromium"
        )
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as exc:
        raise CoevalError("no Playwright: pip install 'coeval[bench]'") from exc
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(FLAGS), timeout=PATIENCE_MS
        )
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        opened = Browsing(page=page, devtools=browser.new_browser_cdp_session())
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda m: opened.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: opened.errors.append(str(error)))
        page.goto(address)
        try:
            yield opened
        finally:
            browser.close()
