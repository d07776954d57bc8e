"""The strip of versions in real headless Chromium: going back, branching, by mouse and keyboard, two languages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.driving import AUDIT, instruct, open_photo, paint, pixels, result_address, wait_for_another
from tests.server.started import Started

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]


def versions(page: Page, count: int) -> None:
    expect(page.locator("#strip button")).to_have_count(count)


def current(page: Page) -> str:
    return page.locator("#strip [aria-current] img").get_attribute("alt") or ""


def test_going_back_and_branching(visit: Open, running: Started, photos: Path) -> None:
    one = visit(running.url)
    page = one.page
    open_photo(page, photos / "wide.jpg")
    expect(page.locator("#strip")).to_be_hidden()
    instruct(page, "warmer")
    warm_address = result_address(page)
    versions(page, 2)
    warm = pixels(page, "#after")
    instruct(page, "black and white")
    wait_for_another(page, warm_address)
    versions(page, 3)
    grey = pixels(page, "#after")
    assert abs(grey[0] - grey[2]) < 2 < warm[0] - warm[2] and "black" in current(page).lower()

    shown = result_address(page)
    page.locator("#strip button").nth(1).click()
    wait_for_another(page, shown)
    assert np.abs(pixels(page, "#after") - warm).max() < 1 and current(page).lower().startswith("warmth")
    versions(page, 3)
    expect(page.get_by_role("slider", name="Warmth, whole picture")).to_be_visible()
    expect(page.get_by_role("slider", name="Black and white")).to_have_count(0)

    shown = result_address(page)
    instruct(page, "brighter")  # another branch, from the warm one
    wait_for_another(page, shown)
    versions(page, 4)
    brighter = pixels(page, "#after")
    assert brighter.sum() > warm.sum() + 10 and brighter[0] - brighter[2] > 5

    page.locator("#strip button").first.click()
    expect(page.locator("#after")).to_be_hidden()
    assert current(page) == "Original" and page.locator("#chips > *").count() == 0
    versions(page, 4)
    assert page.evaluate(AUDIT) == [] and one.complaints == [] and one.strangers == []


def test_by_keyboard(visit: Open, running: Started, photos: Path) -> None:
    page = visit(running.url).page
    open_photo(page, photos / "portrait.jpg")
    instruct(page, "warmer")
    first = result_address(page)
    versions(page, 2)
    page.locator("#strip button").nth(1).focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.locator("#after")).to_be_hidden()
    assert page.evaluate("document.activeElement.closest('#strip') !== null"), "the focus stays in the strip"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator("#after")).to_be_visible()
    assert result_address(page) != first and current(page).lower().startswith("warmth")


def test_a_marked_area_comes_back_with_its_version(visit: Open, running: Started, photos: Path) -> None:
    page = visit(running.url).page
    open_photo(page, photos / "wide.jpg")
    page.get_by_role("button", name="Mark an area").first.click()
    paint(page, (0.2, 0.5), (0.4, 0.5))
    page.locator("#ready").click()
    instruct(page, "black and white")
    marked = result_address(page)
    versions(page, 2)
    grey = pixels(page, "#after")
    page.locator("#unmark").click()
    page.locator("#strip button").first.click()
    expect(page.locator("#after")).to_be_hidden()
    page.locator("#strip button").nth(1).click()
    wait_for_another(page, marked)
    expect(page.locator("#unmark")).to_be_visible()
    assert np.abs(pixels(page, "#after") - grey).max() < 1


def test_dragging_an_amount_makes_one_version_and_another_photo_begins_anew(
    visit: Open, running: Started, photos: Path
) -> None:
    page = visit(running.url).page
    open_photo(page, photos / "portrait.jpg")
    instruct(page, "warmer")
    result_address(page)
    versions(page, 2)
    chip = page.get_by_role("slider", name="Warmth, whole picture")
    chip.focus()
    for _ in range(6):
        chip.press("ArrowRight")
    versions(page, 3)
    page.set_input_files("#file", photos / "wide.jpg")
    versions(page, 2)


def test_in_german_on_a_phone(visit: Open, running: Started, photos: Path) -> None:
    page = visit(running.url, width=390, height=844, locale="de-DE").page
    open_photo(page, photos / "portrait.jpg")
    page.locator("#instruction").fill("wärmer")
    page.locator("#instruction").press("Enter")
    result_address(page)
    versions(page, 2)
    assert page.locator("#strip").get_attribute("aria-label") == "Fassungen"
    page.locator("#strip button").first.click()
    expect(page.get_by_role("status")).to_be_visible()
    assert page.evaluate(AUDIT) == []
