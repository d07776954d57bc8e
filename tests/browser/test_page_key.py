"""The page of a server that wants an API key."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from server.key_store import KeyStore
from server.keys import Rule
from tests.browser.conftest import Visit
from tests.browser.driving import AUDIT, instruct, open_photo, result_address
from tests.server.started import started_server

pytestmark = pytest.mark.browser


def test_the_page_asks_for_the_key_once(visit: Callable[..., Visit], photos: Path, tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "state")
    key, text = store.create("page", Rule())
    with started_server("--state", str(tmp_path / "state")) as server:
        one = visit(server.url, until="#key[open]")
        page, dialog = one.page, one.page.get_by_role("dialog")
        expect(dialog).to_contain_text("This server wants a key")
        expect(page.locator("#key-text")).to_be_focused()
        assert page.evaluate(AUDIT) == []
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/key.png")
        page.locator("#key-text").fill("ne_wrong")
        page.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("alert")).to_contain_text("doesn't accept this key")
        page.locator("#key-text").fill(f"  {text}\n")
        page.locator("#key-text").press("Enter")
        expect(dialog).to_be_hidden()
        open_photo(page, photos / "wide.jpg")
        instruct(page, "warmer")
        result_address(page)
        page.reload()
        page.wait_for_selector("#palette button", state="attached")
        expect(dialog).to_be_hidden()
        assert one.strangers == [] and all("401" in said for said in one.complaints), one.complaints
        assert page.evaluate("localStorage.length") == 0 and text not in page.url
        store.revoke(key.id)
        instruct(page, "cooler")
        expect(dialog).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#trouble")).to_contain_text("doesn't hold")
        instruct(page, "warmer")
        expect(dialog).to_be_visible()
        store.close()
