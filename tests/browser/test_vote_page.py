"""People vote on the page of `nanoedge bench vote`: by keyboard, by touch, side by side, and blind."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, Response, expect

from converters.bench.vote import vote
from tests.browser.conftest import Visit
from tests.browser.driving import AUDIT, pixels
from tests.converters.bench.voting import MODELS, started_page, write_report

pytestmark = pytest.mark.browser

READY = "body[data-question]"
QUESTIONS = 12
PHONE: dict[str, Any] = {"width": 390, "height": 844, "until": READY, "is_mobile": True, "has_touch": True}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return write_report(tmp_path / "report")


@pytest.fixture
def url(report: Path) -> Iterator[str]:
    with started_page(report) as (address, _):
        yield address


def question(page: Page) -> str:
    return page.evaluate("document.body.dataset.question") or ""


def brighter(page: Page) -> str:
    """What a voter says who likes bright pictures, by looking at them."""
    left, right = (pixels(page, f"#{side} img")[:3].mean() for side in ("left", "right"))
    return "ArrowLeft" if left > right else "ArrowRight"


def press(page: Page, key: str) -> None:
    """Press a key and wait until the page has another question, or none."""
    before = question(page)
    page.keyboard.press(key)
    page.wait_for_function(
        "before => document.body.dataset.question !== before || !document.querySelector('#end').hidden", arg=before
    )
    expect(page.locator(".waiting")).to_have_count(0)


def rows(report: Path, columns: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(report / "votes.sqlite")) as connection:
        return connection.execute(f"SELECT {columns} FROM ballots WHERE choice IS NOT NULL ORDER BY voted").fetchall()


def look(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/vote-{name}.png")


def test_a_preference_voted_by_keyboard_is_the_ranking_and_the_page_is_blind(
    visit: Callable[..., Visit], report: Path, url: str
) -> None:
    one = visit(url, until=READY)
    page, traffic = one.page, []

    def note(response: Response) -> None:
        traffic.append((response.url, json.dumps(response.headers), response.body()))

    page.on("response", note)
    page.reload()
    page.wait_for_selector(READY)
    expect(page.locator(".waiting")).to_have_count(0)
    assert page.evaluate(AUDIT) == []
    look(page, "wide")
    for done in range(QUESTIONS):
        expect(page.locator("#left-over")).to_have_text(f"{done} of {QUESTIONS}, {QUESTIONS - done} left")
        press(page, brighter(page))
    expect(page.locator("#end-title")).to_have_text("That was all. Thank you.")
    assert len([address for address, _, _ in traffic if "/picture/" in address]) >= 3 * QUESTIONS
    for address, headers, body in traffic:
        for secret in ("ember", *MODELS, "pictures/", "light-1", "coffee"):
            assert secret not in address and secret not in headers and secret.encode() not in body, address
    page.get_by_role("button", name="Show the ranking").click()
    expect(page.locator("tbody").first.locator("tr .name")).to_have_text(list(MODELS))
    assert page.evaluate(AUDIT) == []
    look(page, "ranking")
    kept = rows(report, "left_model, right_model, choice")
    assert len(kept) == QUESTIONS
    for left, right, choice in kept:
        assert MODELS.index(left if choice == "left" else right) < MODELS.index(right if choice == "left" else left)
    printed = CliRunner().invoke(vote, [str(report), "--ranking", "--json"], catch_exceptions=False).stdout
    assert [standing["model"] for standing in json.loads(printed)["standings"]] == list(MODELS)
    assert one.complaints == [] and one.strangers == []


def test_equal_undo_and_keys_that_mean_nothing(visit: Callable[..., Visit], report: Path, url: str) -> None:
    page = visit(url, until=READY).page
    expect(page.locator("#undo")).to_be_disabled()
    page.keyboard.press("Backspace")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Control+ArrowLeft")
    first = question(page)
    press(page, "ArrowDown")
    second = question(page)
    press(page, " ")
    assert [choice for (choice,) in rows(report, "choice")] == ["equal", "equal"]
    press(page, "Backspace")
    assert question(page) == second and len(rows(report, "choice")) == 1
    press(page, "Backspace")
    assert question(page) == first and rows(report, "choice") == []
    press(page, "ArrowRight")
    assert rows(report, "name, choice") == [(first, "right")]
    page.keyboard.press("z")
    expect(page.locator("#zoom")).to_have_attribute("aria-pressed", "true")
    page.mouse.move(300, 400)
    look(page, "zoomed")
    # A button that was tabbed to is pressed by space, as everywhere.
    page.locator("[data-choice=left]").focus()
    press(page, " ")
    assert [choice for (choice,) in rows(report, "choice")] == ["right", "left"]


def test_two_voters_side_by_side_by_touch_and_by_mouse(
    visit: Callable[..., Visit], report: Path, url: str
) -> None:
    phone, desk = visit(url, **PHONE), visit(url, until=READY)
    assert phone.page.evaluate(AUDIT) == []
    assert phone.page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    look(phone.page, "phone")
    asked = question(phone.page)
    phone.page.locator("#left").tap()
    phone.page.wait_for_function("before => document.body.dataset.question !== before", arg=asked)
    asked = question(desk.page)
    desk.page.get_by_role("button", name="Equal").click()
    desk.page.wait_for_function("before => document.body.dataset.question !== before", arg=asked)
    assert sorted(choice for (choice,) in rows(report, "choice")) == ["equal", "left"]
    assert len({voter for (voter,) in rows(report, "voter")}) == 2
    phone.page.get_by_role("button", name="Finish").click()
    expect(phone.page.locator("#end-text")).to_have_text("Your votes: 1. From all voters: 2. They are kept.")
    phone.page.get_by_role("button", name="Show the ranking").click()
    expect(phone.page.locator("table").first).to_be_visible()
    assert phone.page.evaluate(AUDIT) == []
    look(phone.page, "phone-ranking")
    phone.page.get_by_role("button", name="Go on voting").click()
    expect(phone.page.locator("#left img")).to_be_visible()
    assert phone.complaints == [] and desk.complaints == [] and phone.strangers == []


def test_a_server_that_was_stopped_is_said_and_nothing_is_lost(visit: Callable[..., Visit], report: Path) -> None:
    with started_page(report) as (url, process):
        page = visit(url, until=READY).page
        press(page, "ArrowLeft")
        process.kill()
        process.wait(20)
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_role("alert")).to_contain_text("The server doesn't answer")
    port = url.rsplit(":", 1)[1]
    with started_page(report, "--port", port):
        press(page, "ArrowRight")
        expect(page.get_by_role("alert")).to_be_hidden()
        assert [choice for (choice,) in rows(report, "choice")] == ["left", "right"]
