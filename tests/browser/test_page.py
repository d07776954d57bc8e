"""The page, driven in real headless Chromium as a person would use it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.driving import (
    AUDIT,
    add,
    drag,
    instruct,
    open_photo,
    pixels,
    result_address,
    summary,
    wait_for_another,
)
from tests.server.darkroom import Darkroom
from tests.server.started import Started

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]


def test_a_photo_is_edited_by_words_and_taken_home(visit: Open, running: Started, photos: Path, tmp_path: Path) -> None:
    one = visit(running.url)
    page = one.page
    open_photo(page, photos / "wide.jpg")
    instruct(page, "warmer")
    first = result_address(page)
    before, after = pixels(page, "#before"), pixels(page, "#after")
    assert after[0] - after[2] > before[0] - before[2] + 3, "warmer is more red and less blue"
    assert page.evaluate("document.querySelector('#after').naturalWidth") == 1024
    expect(page.get_by_role("status")).to_contain_text("warmth")
    expect(page.locator("#after")).to_have_attribute("alt", "The photo after the edit: " + summary(page))

    chip = page.get_by_role("slider", name="Warmth, whole picture")
    chip.focus()
    for _ in range(5):
        chip.press("ArrowRight")
    second = wait_for_another(page, first)
    drag(page, chip, 0.95)
    wait_for_another(page, second)
    assert float(chip.input_value()) > 0.8
    assert pixels(page, "#after")[0] > after[0]

    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download").click()
    assert downloading.value.suggested_filename == "wide-edited.jpg"
    downloading.value.save_as(tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as taken:
        assert taken.size == (1600, 1066) and taken.format == "JPEG"
    page.get_by_label("Format").select_option("webp")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download").click()
    assert downloading.value.suggested_filename == "wide-edited.webp"
    assert one.complaints == [] and one.strangers == []


def test_the_seam_moves_by_mouse_and_keyboard(visit: Open, running: Started, photos: Path) -> None:
    page = visit(running.url).page
    open_photo(page, photos / "portrait.jpg")
    instruct(page, "black and white")
    result_address(page)
    split = page.get_by_role("slider", name="Compare before and after")
    frame, seam = page.locator("#compare"), page.locator("#seam")
    box = frame.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    at = seam.bounding_box()
    assert abs((at["x"] + at["width"] / 2 - box["x"]) / box["width"] - 0.25) < 0.02
    split.press("End")
    at = seam.bounding_box()
    assert abs(at["x"] + at["width"] / 2 - box["x"] - box["width"]) < 2
    split.press("ArrowLeft")
    assert split.input_value() == "99" and split.get_attribute("aria-valuetext") == "99 % shown as before"


def test_chips_are_added_moved_and_removed(visit: Open, running: Started, photos: Path) -> None:
    page = visit(running.url).page
    open_photo(page, photos / "portrait.jpg")
    add(page, "film grain")
    address = result_address(page)
    chip = page.get_by_role("slider", name="Film grain, whole picture")
    expect(chip).to_be_focused()
    where = page.get_by_label("Where film grain applies")
    where.select_option("background")
    expect(page.get_by_role("slider", name="Film grain, background")).to_be_visible()
    expect(where).to_be_focused()
    address = wait_for_another(page, address)
    add(page, "plain background")
    address = wait_for_another(page, address)
    page.get_by_label("Colour of plain background").fill("#00ff00")
    wait_for_another(page, address)
    page.get_by_role("button", name="Remove plain background").click()
    page.get_by_role("button", name="Remove film grain").click()
    expect(page.locator("#after")).to_be_hidden()
    expect(page.get_by_role("button", name="Download")).to_be_hidden()
    expect(page.get_by_label("What should change?")).to_be_focused()


def test_dragged_amounts_survive_more_words(visit: Open, darkroom: tuple[str, Darkroom], photos: Path) -> None:
    page = visit(darkroom[0]).page
    open_photo(page, photos / "portrait.jpg")
    instruct(page, "warmer")
    address = result_address(page)
    page.get_by_role("slider", name="Warmth, whole picture").fill("0.9")
    wait_for_another(page, address)
    instruct(page, "warmer, more contrast")
    expect(page.get_by_role("slider", name="Contrast, whole picture")).to_have_value("0.5")
    expect(page.get_by_role("slider", name="Warmth, whole picture")).to_have_value("0.9")


def test_a_removed_background_shows_the_checkerboard(visit: Open, running: Started, photos: Path) -> None:
    page = visit(running.url).page
    open_photo(page, photos / "portrait.jpg")
    add(page, "remove background")
    result_address(page)
    assert pixels(page, "#after")[3] < 250, "part of the picture is transparent"
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download").click()
    assert downloading.value.suggested_filename == "portrait-edited.png"


def test_words_first_and_the_photo_later(visit: Open, darkroom: tuple[str, Darkroom], photos: Path) -> None:
    page = visit(darkroom[0]).page
    page.get_by_role("button", name="a bit warmer").click()
    expect(page.get_by_role("slider", name="Warmth, whole picture")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Now choose a photo to see it.")
    open_photo(page, photos / "portrait.jpg")
    result_address(page)


def test_what_is_beyond_the_model_is_said(visit: Open, darkroom: tuple[str, Darkroom], photos: Path) -> None:
    page = visit(darkroom[0]).page
    open_photo(page, photos / "portrait.jpg")
    instruct(page, "put a hat on her head")
    expect(page.locator("#beyond")).to_contain_text("beyond the model")
    expect(page.locator("#beyond")).to_contain_text("To erase something, mark it")


@pytest.mark.parametrize(("name", "words"), [("notes.txt", "not a picture"), ("broken.jpg", "damaged")])
def test_files_that_are_no_photo(visit: Open, running: Started, photos: Path, name: str, words: str) -> None:
    page = visit(running.url).page
    page.set_input_files("#file", photos / name)
    expect(page.get_by_role("alert")).to_contain_text(words)
    open_photo(page, photos / "portrait.jpg")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_bad_instructions_are_explained(visit: Open, running: Started, photos: Path) -> None:
    page = visit(running.url).page
    open_photo(page, photos / "portrait.jpg")
    instruct(page, "")
    expect(page.get_by_role("alert")).to_contain_text("instruction is empty")
    instruct(page, "warmer " * 1500)
    expect(page.get_by_role("alert")).to_contain_text("too long")
    instruct(page, "warmer")
    result_address(page)
    expect(page.get_by_role("alert")).to_be_hidden()


def test_drop_and_paste(visit: Open, running: Started, photos: Path) -> None:
    page = visit(running.url).page
    encoded = base64.b64encode((photos / "portrait.jpg").read_bytes()).decode()
    for event in ("drop", "paste"):
        page.evaluate(
            """async ([encoded, event]) => {
                const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], `${event}.jpg`, { type: "image/jpeg" }));
                document.body.dispatchEvent(event === "drop"
                    ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
                    : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));
            }""",
            [encoded, event],
        )
        expect(page.locator("#before")).to_be_visible()
        instruct(page, "warmer")
        address = result_address(page)
        with page.expect_download() as downloading:
            page.get_by_role("button", name="Download").click()
        assert downloading.value.suggested_filename == f"{event}-edited.jpg"
        assert address.startswith("blob:")


def test_new_words_drop_the_stale_request(visit: Open, darkroom: tuple[str, Darkroom], photos: Path) -> None:
    url, service = darkroom
    page = visit(url).page
    open_photo(page, photos / "portrait.jpg")
    service.gate.clear()
    aborted: list[str] = []
    page.on("requestfailed", lambda request: aborted.append(request.url))
    instruct(page, "black and white")
    expect(page.locator("#stage")).to_have_attribute("aria-busy", "true")
    assert service.started.wait(10)
    page.set_input_files("#file", photos / "wide.jpg")
    expect(page.locator("#full-size")).to_contain_text("1600 × 1066")
    service.gate.set()
    result_address(page)
    assert aborted == [f"{url}/edit"]
    assert page.evaluate("document.querySelector('#after').naturalWidth") == 1024


def test_german(visit: Open, running: Started, photos: Path) -> None:
    page = visit(running.url, locale="de-DE").page
    assert page.evaluate("document.documentElement.lang") == "de"
    open_photo(page, photos / "portrait.jpg")
    page.get_by_label("Was soll sich ändern?").fill("wärmer")
    page.get_by_role("button", name="Bearbeiten").click()
    result_address(page)
    expect(page.get_by_role("slider", name="Wärme, ganzes Bild")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("Fertig in")
    page.set_input_files("#file", photos / "notes.txt")
    expect(page.get_by_role("alert")).to_contain_text("kein Bild")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everybody_can_use_it(visit: Open, running: Started, photos: Path, scheme: str, width: int) -> None:
    phone = width < 500
    one = visit(running.url, width=width, height=740, color_scheme=scheme, has_touch=phone, is_mobile=phone)
    page = one.page
    assert page.evaluate(AUDIT) == []
    open_photo(page, photos / "portrait.jpg")
    add(page, "plain background")
    result_address(page)
    instruct(page, "warmer")
    expect(page.get_by_role("slider", name="Warmth, whole picture")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("Done")
    assert page.evaluate(AUDIT) == []
    assert one.complaints == []
