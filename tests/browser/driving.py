"""Using the page as a person would: words, photos, chips, the brush. And what to look at afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Locator, Page, expect


def instruct(page: Page, words: str) -> None:
    page.get_by_label("What should change?").fill(words)
    page.get_by_label("What should change?").press("Enter")


def open_photo(page: Page, path: Path) -> None:
    page.set_input_files("#file", path)
    expect(page.locator("#before")).to_be_visible()


def result_address(page: Page) -> str:
    expect(page.locator("#after")).to_be_visible()
    return page.locator("#after").get_attribute("src") or ""


def wait_for_another(page: Page, before: str) -> str:
    expect(page.locator("#after")).not_to_have_attribute("src", before)
    return result_address(page)


def pixels(page: Page, selector: str) -> np.ndarray:
    """The mean colour of a picture on the page."""
    mean = page.evaluate(
        """(selector) => {
            const picture = document.querySelector(selector);
            const canvas = new OffscreenCanvas(16, 16);
            const context = canvas.getContext("2d");
            context.drawImage(picture, 0, 0, 16, 16);
            return [...context.getImageData(0, 0, 16, 16).data];
        }""",
        selector,
    )
    return np.array(mean, dtype=float).reshape(-1, 4).mean(axis=0)


def summary(page: Page) -> str:
    return page.get_by_role("status").inner_text().split(": ", 1)[1].rstrip(".").lower()


def drag(page: Page, slider: Locator, share: float) -> None:
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()


def add(page: Page, name: str) -> None:
    """Add an adjustment by hand: open the palette, find it by its name, press its button."""
    if not page.locator("#find").is_visible():
        page.locator("#more > summary").click()
    page.locator("#find").fill(name)
    page.get_by_role("button", name=name, exact=True).click()


def paint(page: Page, *points: Sequence[float]) -> None:
    """Draw one stroke with the mouse through points given as shares of the photo's width and height."""
    box = page.locator("#paint").bounding_box()
    assert box is not None
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def painted(page: Page, x: float, y: float) -> int:
    """The opacity, 0..255, of the overlay at a place given as shares of the photo's width and height."""
    opacity: int = page.evaluate(
        """([x, y]) => {
            const paint = document.querySelector("#paint");
            return paint.getContext("2d").getImageData(x * paint.width, y * paint.height, 1, 1).data[3];
        }""",
        [x, y],
    )
    return opacity


def colour_at(page: Page, selector: str, x: float, y: float) -> np.ndarray:
    """The mean colour of a picture around a place given as shares of its width and height."""
    mean = page.evaluate(
        """([selector, x, y]) => {
            const picture = document.querySelector(selector);
            const canvas = new OffscreenCanvas(1, 1);
            const context = canvas.getContext("2d");
            context.drawImage(
                picture, x * picture.naturalWidth - 4, y * picture.naturalHeight - 4, 8, 8, 0, 0, 1, 1,
            );
            return [...context.getImageData(0, 0, 1, 1).data];
        }""",
        [selector, x, y],
    )
    return np.array(mean, dtype=float)


# What axe would look at first: names, alternative texts, unique ids, sideways scrolling, target sizes, contrast.
AUDIT = """() => {
    const found = [];
    const visible = (node) => node.checkVisibility() && !node.closest(".unseen, .skip, .veil");
    const name = (node) => (node.ariaLabel || (node.labels?.[0]?.textContent) || node.textContent || "").trim();
    for (const node of document.querySelectorAll("button, input, select, textarea, summary, a")) {
        if (node.ariaHidden === "true") continue;
        if (!name(node)) found.push(`no name: ${node.outerHTML.slice(0, 90)}`);
        if (!visible(node)) continue;
        const { width, height } = node.getBoundingClientRect();
        if (Math.min(width, height) < 24) found.push(`too small: ${name(node)} ${width} x ${height}`);
    }
    for (const node of document.images) if (visible(node) && !node.alt) found.push(`no alt: ${node.id}`);
    const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
    if (new Set(ids).size !== ids.length) found.push("an id is there twice");
    if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
    if (!document.documentElement.lang || !document.querySelector("main")) found.push("no language or no main");
    const wide = document.documentElement.scrollWidth;
    if (wide > screen.width || wide > innerWidth || innerWidth > visualViewport.width + 20) {
        found.push(`scrolls sideways: ${wide} in ${innerWidth}`);
    }

    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const over = ([r, g, b, a = 1], below) => [r, g, b].map((value, i) => value * a + below[i] * (1 - a));
    const ground = (node) => {
        const layers = [];
        for (let one = node; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
        return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
    };
    const light = (color) => color.map((value) => value / 255)
        .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !visible(node) || node.closest("option, script, noscript")) continue;
        const below = ground(node);
        const [one, two] = [light(over(parse(getComputedStyle(node).color), below)), light(below)];
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)}: ${node.textContent.slice(0, 40)}`);
    }
    return found;
}"""
