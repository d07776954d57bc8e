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


FETCH = """async ([url, key]) => {
    const body = JSON.stringify({ prompt: "warmer" });
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${key}` };
    const answer = await fetch(url, { method: "POST", headers, body }).catch((error) => ({ status: error.name }));
    return [answer.status, answer.headers?.get("X-Request-Id")];
}"""


def test_a_listed_origin_may_send_a_key_and_others_may_not(visit: Callable[..., Visit], tmp_path: Path) -> None:
    """By a real browser's rules: it asks first, and shows the page nothing of an answer that doesn't name it."""
    store = KeyStore(tmp_path / "state")
    _, text = store.create("extension", Rule())
    store.close()
    with started_server() as first, started_server() as second:
        options = ("--state", str(tmp_path / "state"), "--allow-origin", first.url)
        with started_server(*options) as guarded:
            listed, other = (visit(f"{server.url}/healthz", until="body").page for server in (first, second))
            status, request_id = listed.evaluate(FETCH, [f"{guarded.url}/v1/plans", text])
            assert status == 200 and request_id
            assert other.evaluate(FETCH, [f"{guarded.url}/v1/plans", text]) == ["TypeError", None]
