"""Chromium for the tests of pages: what is needed is said where there is none, and required where CI asks for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

REQUIRED = "SPIKESTRIP_REQUIRE_BROWSER"
DESKTOP, PHONE = (1200, 900), (390, 844)
PATIENCE = 60  # seconds until a page is given up; nothing is measured by it


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium of the system, driven by Selenium. Skips where there is none, unless it is required."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        need = "needs a browser: chromium and chromedriver (Debian: apt install chromium chromium-driver)"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{need}; {REQUIRED} is set")
        pytest.skip(need)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run",
                 "disable-background-networking", "disable-component-update", "disable-sync"):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def opened(chrome: Any, address: Path | str, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> Any:
    """Open a page of ours in a window of this size and colour scheme, and wait until it has drawn itself."""
    from selenium.webdriver.support.ui import WebDriverWait

    device = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    feature = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    chrome.get("about:blank")
    chrome.get_log("browser")  # forget what others said
    chrome.get(address.as_uri() if isinstance(address, Path) else address)
    WebDriverWait(chrome, PATIENCE).until(
        lambda one: one.execute_script("return document.documentElement.dataset.ready")
    )
    return chrome


def complaints(chrome: Any) -> list[str]:
    """What the page has written to the console since it was opened."""
    return [entry["message"] for entry in chrome.get_log("browser")]
