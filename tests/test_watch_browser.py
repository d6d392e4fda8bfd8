"""The page of ``spikestrip watch`` as a person sees it: in Chromium, while the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import run_folders
from browsers import DESKTOP, PATIENCE, PHONE, browser, complaints, opened
from commands import run
from test_watch import HEADER, ROWS, made, served

from deploy.watch import command

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "a & <b>", options=f"epochs = 10\ntask = '{HOSTILE}'\n'{HOSTILE}' = 1\n")


def script(chrome: Any, text: str) -> Any:
    return chrome.execute_script(f"return {text}")


def losses(chrome: Any) -> list[float]:
    """The losses of the epochs, as Plotly has drawn them."""
    line = "document.querySelectorAll('.plot')[1].data.find((one) => one.name === 'training')"
    found: list[float] = script(chrome, f"{line}.y")
    return found


def awaited(chrome: Any, condition: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(chrome, PATIENCE).until(lambda one: condition())


def said(chrome: Any, name: str) -> str:
    text: str = script(chrome, f"document.getElementById('{name}').textContent")
    return text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_it_renders_without_a_complaint(chrome: Any, folder: Path, size: tuple[int, int], scheme: str) -> None:
    with served(folder) as server:
        opened(chrome, f"http://127.0.0.1:{server.server_port}/", size, scheme)
        assert losses(chrome) == [2.75, 2.5, 2.25, 2.0]
        assert script(chrome, "document.querySelectorAll('.plot .main-svg').length") > 0
        assert script(chrome, "document.documentElement.scrollWidth") <= size[0]  # no sideways scroll
        background = script(chrome, "getComputedStyle(document.body).backgroundColor")
        bright = sum(int(part) for part in background.strip("rgb()").split(",")) > 3 * 128
        assert bright == (scheme == "light")
        assert complaints(chrome) == []


def test_it_follows_the_run(chrome: Any, folder: Path) -> None:
    with served(folder) as server:
        opened(chrome, f"http://127.0.0.1:{server.server_port}/")
        chrome.execute_script("Plotly.relayout(document.querySelectorAll('.plot')[1], {'xaxis.range': [1, 3]})")
        chrome.execute_script("window.same = true")
        with open(folder / "epochs.csv", "a") as file:
            file.write(ROWS[4] + ROWS[5][:7])  # the sixth is half written
        awaited(chrome, lambda: losses(chrome) == [2.75, 2.5, 2.25, 2.0, 1.75])
        assert "5 of 10" in said(chrome, "facts")
        assert script(chrome, "document.querySelectorAll('.plot')[1]._fullLayout.xaxis.range") == [1, 3]  # as zoomed
        (folder / "epochs.csv").write_text("no log of ours\n")
        awaited(chrome, lambda: said(chrome, "state") == "unreadable")
        assert "epochs.csv: lacks the column 'epoch'" in said(chrome, "said")
        assert len(losses(chrome)) == 5  # what was last seen
        (folder / "epochs.csv").write_text(HEADER.replace("accuracy,loss", "loss,accuracy", 1) + ROWS[0])  # begun anew
        awaited(chrome, lambda: losses(chrome) == [275.0])  # its second plot is another now
        assert said(chrome, "state") == "running"
        assert complaints(chrome) == []
    awaited(chrome, lambda: said(chrome, "state") == "no answer")
    assert losses(chrome) == [275.0]
    assert script(chrome, "window.same")  # all this on the page that was opened


def test_names_are_text(chrome: Any, folder: Path) -> None:
    (folder / "epochs.csv").write_text(f"epoch,seconds,{HOSTILE}\n1,2,3\n")
    with served(folder) as server:
        opened(chrome, f"http://127.0.0.1:{server.server_port}/")
        assert HOSTILE in script(chrome, "[...document.querySelectorAll('td')].map((one) => one.textContent)")
        assert HOSTILE in script(chrome, "[...document.querySelectorAll('h3')].map((one) => one.textContent)")
        assert "a & <b>" in script(chrome, "document.querySelector('header p').textContent")
        assert script(chrome, "document.querySelectorAll('main script, main img, main b').length") == 0
        assert complaints(chrome) == []  # an alert, or a picture that isn't there, would be one


@pytest.mark.parametrize("kind", ["training", "road"])
def test_the_written_page_opens_from_disk(chrome: Any, folder: Path, tmp_path: Path, kind: str) -> None:
    shown = folder if kind == "training" else run_folders.whole(tmp_path / "road")
    assert run(command, shown, "-o", tmp_path / "page.html").code == 0
    opened(chrome, tmp_path / "page.html", PHONE)
    assert script(chrome, "document.documentElement.scrollWidth") <= PHONE[0]
    if kind == "training":
        assert losses(chrome) == [2.75, 2.5, 2.25, 2.0]
    else:
        assert "fail, 3 differ" in script(chrome, "[...document.querySelectorAll('td')].map((one) => one.textContent)")
    chrome.find_element("css selector", "#theme").click()
    assert script(chrome, "document.documentElement.dataset.theme") == "dark"
    assert complaints(chrome) == []
