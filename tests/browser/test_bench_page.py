"""The report of `nanoedge bench` in a browser: one file, complete, and quiet."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.converters.bench.reports import write_report

pytestmark = pytest.mark.browser


def test_the_page_is_one_file_and_needs_no_network(tmp_path: Path, chromium: Browser) -> None:
    write_report(tmp_path / "report")
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto((tmp_path / "report" / "report.html").as_uri())
    assert page.locator("h1").inner_text() == "nanoedge bench"
    assert page.locator("img").count() > 8
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == [] and complaints == []
    page.close()
