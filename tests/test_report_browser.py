"""The report as a person sees it: in Chromium, on a desk and on a phone, by mouse and by keyboard."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import run_folders
from browsers import DESKTOP, PHONE, browser, complaints, opened
from commands import run
from run_folders import WRONG

from deploy.report import command
from deploy.verify import verify
from spikestrip import trace

HOSTILE_LAYERS = ("<img src=x onerror=alert(1)>", "<b>&lt;")


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two run folders on one page; the second has no program, and its layers bear names that are markup."""
    folder = tmp_path_factory.mktemp("pages")
    first, second = run_folders.whole(folder / "first"), folder / "second"
    second.mkdir()
    runs = {}
    for name in ("parallel", "iterative"):
        run_ = trace.read(first / f"reference.{name}.h5")
        spikes = dict(zip(HOSTILE_LAYERS, run_.spikes.values(), strict=True))
        runs[name] = dataclasses.replace(run_, spikes=spikes, events={})
        trace.write(second / f"reference.{name}.h5", runs[name])
    verify(runs["parallel"], runs["iterative"]).write(second / "verdict.parallel.json")
    out = folder / "report.html"
    assert run(command, first, second, "-o", out).code == 0
    return out


def find(chrome: Any, selector: str) -> Any:
    return chrome.find_element("css selector", selector)


def script(chrome: Any, text: str, *arguments: Any) -> Any:
    return chrome.execute_script(f"return {text}", *arguments)


def traces(chrome: Any, selector: str) -> list[dict[str, Any]]:
    """What Plotly has drawn into an element: type, name and number of points of each trace."""
    return script(
        chrome,
        "document.querySelector(arguments[0]).data.map((one) => ({type: one.type, name: one.name ?? '',"
        " points: (one.x ?? one.z).length}))",
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_it_renders_without_a_complaint(chrome: Any, page: Path, size: tuple[int, int], scheme: str) -> None:
    opened(chrome, page, size, scheme)
    assert complaints(chrome) == []
    plots = script(
        chrome,
        "[...document.querySelectorAll('#folder-0 [data-plot]')].map((one) => [one.dataset.plot, one.data.length])",
    )
    assert dict(plots) == {name: count for name, count in plots if count}  # nothing is empty
    assert len(plots) == 11
    assert script(chrome, "document.documentElement.scrollWidth") <= size[0]  # no sideways scroll
    background = script(chrome, "getComputedStyle(document.body).backgroundColor")
    bright = sum(int(part) for part in background.strip("rgb()").split(",")) > 3 * 128
    assert bright == (scheme == "light")


def test_names_are_text(chrome: Any, page: Path) -> None:
    opened(chrome, page)
    find(chrome, "#tab-1").click()
    layers = script(chrome, "[...document.querySelectorAll('#folder-1 .layer option')].map((one) => one.textContent)")
    assert layers == list(HOSTILE_LAYERS)
    find(chrome, "#folder-1 .next").click()
    assert find(chrome, "#folder-1 .pick h3").text == f"{HOSTILE_LAYERS[1]}, neuron 4, step 10"
    assert complaints(chrome) == []  # an alert, or a picture that isn't there, would be one
    assert script(chrome, "document.querySelectorAll('main script, main img').length") == 0
    ticks = "[...document.querySelectorAll('#folder-1 [data-plot=rates] .xtick text')].map((one) => one.textContent)"
    assert script(chrome, ticks) == layers


def test_folders_are_switched(chrome: Any, page: Path) -> None:
    opened(chrome, page)
    assert find(chrome, "#folder-0").is_displayed()
    assert not find(chrome, "#folder-1").is_displayed()
    find(chrome, "#tab-1").click()
    assert not find(chrome, "#folder-0").is_displayed()
    assert find(chrome, "#folder-1").is_displayed()
    assert find(chrome, "#tab-1").get_attribute("aria-selected") == "true"
    assert traces(chrome, "#folder-1 .raster")[0]["type"] == "heatmap"


def test_the_table_is_sorted(chrome: Any, page: Path) -> None:
    opened(chrome, page)
    rows = "[...document.querySelectorAll('#folder-0 table.runs tbody tr')]"
    column = f"{rows}.map((row) => row.cells[arguments[0]].textContent)"
    differ = find(chrome, "#folder-0 table.runs th:nth-child(6) button")
    differ.click()
    assert script(chrome, column, 5)[-1] == "3"  # numbers as numbers, a dash before all
    differ.click()
    assert script(chrome, column, 5)[0] == "3"
    assert find(chrome, "#folder-0 table.runs th:nth-child(6)").get_attribute("aria-sort") == "descending"
    find(chrome, "#folder-0 table.runs th:nth-child(1) button").click()
    names = script(chrome, column, 0)
    assert names == sorted(names)


def test_a_difference_is_picked_and_explained(chrome: Any, page: Path) -> None:
    opened(chrome, page)
    assert find(chrome, "#folder-0 .sample").get_property("value") == "2"  # where something differs
    assert not find(chrome, "#folder-0 .pick").is_displayed()
    drawn = traces(chrome, "#folder-0 .raster")
    assert {"type": "scatter", "name": "undeclared", "points": 3} in drawn
    find(chrome, "#folder-0 .next").click()
    assert find(chrome, "#folder-0 .pick h3").text == f"{WRONG}, neuron 4, step 10"
    said = find(chrome, "#folder-0 .pick dl").text
    assert "undeclared. This side says" in said
    assert "each on its own history" in said
    assert {"u' parallel", "u' iterative", "threshold"} <= {one["name"] for one in traces(chrome, "#folder-0 .around")}
    find(chrome, "#folder-0 .previous").click()
    assert find(chrome, "#folder-0 .pick h3").text == f"{WRONG}, neuron 4, step 30"


def test_a_click_on_the_raster_picks(chrome: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains

    opened(chrome, page)
    place = script(
        chrome,
        "(() => { const one = document.querySelector('#folder-0 .raster'); const box = one.getBoundingClientRect();"
        " one.scrollIntoView(); const at = one.getBoundingClientRect(); const {xaxis, yaxis} = one._fullLayout;"
        " return [at.left + xaxis._offset + xaxis.l2p(20), at.top + yaxis._offset + yaxis.l2p(4), box.width]; })()",
    )
    actions = ActionChains(chrome)
    actions.w3c_actions.pointer_action.move_to_location(int(place[0]), int(place[1]))
    actions.pause(1).click().perform()
    assert find(chrome, "#folder-0 .pick h3").text == f"{WRONG}, neuron 4, step 20"


def test_it_is_used_by_keyboard(chrome: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(chrome, page)
    body = find(chrome, "body")
    for _ in range(40):
        body.send_keys(Keys.TAB) if body.tag_name == "body" else chrome.switch_to.active_element.send_keys(Keys.TAB)
        body = chrome.switch_to.active_element
        if "next" in (body.get_attribute("class") or "").split():
            break
    body.send_keys(Keys.ENTER)
    assert find(chrome, "#folder-0 .pick h3").text == f"{WRONG}, neuron 4, step 10"
    find(chrome, "#folder-0 .layer").send_keys(Keys.ARROW_UP)
    assert "0 differences in this layer" in find(chrome, "#folder-0 .count").text


def test_light_and_dark(chrome: Any, page: Path) -> None:
    opened(chrome, page)
    ink = "document.querySelector('#folder-0 [data-plot=rates]').layout.font.color"
    before = script(chrome, ink)
    find(chrome, "#theme").click()
    assert script(chrome, "document.documentElement.dataset.theme") == "dark"
    assert script(chrome, ink) != before


def test_the_raster_is_zoomed(chrome: Any, page: Path) -> None:
    opened(chrome, page)
    chrome.execute_script("Plotly.relayout(document.querySelector('#folder-0 .raster'), {'xaxis.range': [5, 15]})")
    find(chrome, "#folder-0 .next").click()  # what was zoomed stays so
    assert script(chrome, "document.querySelector('#folder-0 .raster')._fullLayout.xaxis.range") == [5, 15]
