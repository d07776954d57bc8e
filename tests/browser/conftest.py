from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import skimage
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from mobile_export.cli import export_command
from server.app import create_app
from tests.server.darkroom import Darkroom
from tests.server.served import served
from tests.server.started import Started, started_server

PHOTOS = Path(skimage.__file__).parent / "data"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]


@dataclass
class Visit:
    """A page, and what the browser complained about or asked of strangers."""

    page: Page
    complaints: list[str]
    strangers: list[str]


@pytest.fixture(scope="session")
def running() -> Iterator[Started]:
    """A really started server with the real models."""
    with started_server() as server:
        yield server


@pytest.fixture(scope="session")
def driver() -> Iterator[Playwright]:
    """Playwright, of which a process can start only one."""
    # Playwright's five seconds are too few where trainings or other tests hold the cores.
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def chromium(driver: Playwright) -> Iterator[Browser]:
    """One browser with an empty profile; every visit gets a context of its own."""
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def web_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The web bundle of the embedded model, exported by the command; npm gives onnxruntime-web."""
    folder = tmp_path_factory.mktemp("web") / "nano-banana-web"
    result = CliRunner().invoke(export_command, ["web", "nano-banana", "-o", str(folder)])
    assert result.exception is None, result.output
    return folder


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Any]:
    """Open an address in a fresh context: visit(url, width=..., height=..., **context options)."""
    contexts: list[BrowserContext] = []

    def opened(
        url: str, width: int = 1280, height: int = 860, until: str = "#palette button", **options: Any
    ) -> Visit:
        context = chromium.new_context(viewport={"width": width, "height": height}, **{"locale": "en-GB", **options})
        contexts.append(context)
        context.set_default_timeout(60_000)
        one = Visit(page=context.new_page(), complaints=[], strangers=[])
        one.page.on("console", lambda said: one.complaints.append(said.text) if said.type == "error" else None)
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("request", lambda request: _note_strangers(one, request.url, url))
        one.page.goto(url)
        one.page.wait_for_selector(until, state="attached")
        return one

    yield opened
    for context in contexts:
        context.close()


def _note_strangers(visit: Visit, asked: str, own: str) -> None:
    if not asked.startswith((own, "blob:", "data:")):
        visit.strangers.append(asked)


@pytest.fixture
def darkroom() -> Iterator[tuple[str, Darkroom]]:
    """A server in this process whose model can be held still: its address, and the model."""
    service = Darkroom()
    with served(create_app(service)) as url:
        yield url, service
        service.close()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real photographs in files: portrait.jpg (512), wide.jpg (1600 x 1066), logo.png (with transparency)."""
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(PHOTOS / "astronaut.png") as picture:
        picture.convert("RGB").save(folder / "portrait.jpg", quality=92)
    with Image.open(PHOTOS / "coffee.png") as picture:
        picture.convert("RGB").resize((1600, 1066)).save(folder / "wide.jpg", quality=92)
        clear = picture.convert("RGBA")
        clear.putalpha(Image.linear_gradient("L").resize(clear.size))
        clear.save(folder / "clear.png")
    (folder / "notes.txt").write_text("these are not pixels")
    (folder / "broken.jpg").write_bytes((folder / "wide.jpg").read_bytes()[:300])
    return folder
