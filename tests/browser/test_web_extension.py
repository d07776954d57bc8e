"""The browser extension, loaded unpacked into real headless Chromium, on a local page, by both routes.

A context menu can't be opened without a screen: its event is sent to the extension's own listener. The access that a
real click on the menu gives (activeTab), and that saving the options asks for, stands in the manifest of the copy here.
"""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Playwright, Worker

from edge_runtime.editor import Editor
from edge_runtime.request import EditRequest
from tests.browser.bundles import PHOTO_FOLDER, psnr_db
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.server.started import started_server

pytestmark = pytest.mark.browser
HOSTS = ["http://127.0.0.1/*"]
JPEG_PSNR_DB = 33.0
"""Between a picture and itself as JPEG, as which opaque results travel inside the extension."""

PAGE = """<!doctype html><title>A page</title><p>Text</p>
<picture><source srcset="portrait.png"><img id="portrait" src="portrait.png" alt="portrait" width="384"></picture>
<img id="far" src="{far}" alt="far" width="200">"""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """Chromium with the extension: its service worker, and a local page."""

    context: BrowserContext
    worker: Worker
    page: Page

    def begin(self, picture: str) -> None:
        """Do what a click on the menu entry does."""
        click = {"menuItemId": "edit-picture", "srcUrl": picture, "pageUrl": self.page.url, "frameId": 0}
        self.worker.evaluate(
            """async ([click, address]) => {
                const [tab] = (await chrome.tabs.query({})).filter((one) => one.url === address);
                chrome.contextMenus.onClicked.dispatch(click, {id: tab.id});
            }""",
            [click, self.page.url],
        )
        self.wait_for("textbox", "What should change?")

    def wait_for(self, role: str, name: str) -> None:
        """Wait until the dialog, whose tree is closed to scripts, shows this to a screen reader."""
        for _ in range(600):
            if any(shown == role and name in text for shown, text in self.shown()):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{role} {name!r} is not there: {self.shown()}")

    def shown(self) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader finds."""
        session = self.context.new_cdp_session(self.page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        session.detach()
        return [(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node and "role" in node]

    def instruct(self, words: str) -> None:
        """Type into the dialog's field, which has the focus, and send it."""
        self.page.keyboard.type(words)
        self.page.keyboard.press("Enter")

    def picture(self) -> np.ndarray:
        """What the page's picture shows, (height, width, 4)."""
        self.page.wait_for_function("document.getElementById('portrait').src.startsWith('data:')")
        address: str = self.page.evaluate("document.getElementById('portrait').src")
        with Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
            return np.asarray(picture.convert("RGBA"))

    def choose(self, **settings: str) -> None:
        """Save options as the options' page does."""
        self.worker.evaluate("(settings) => chrome.storage.local.set(settings)", settings)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with a picture of its own and one of another site, on two free ports."""
    folder = tmp_path_factory.mktemp("site")
    with Image.open(PHOTO_FOLDER / "astronaut.png") as photo:
        photo.crop((0, 0, 384, 320)).save(folder / "portrait.png")
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    own, far = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    (folder / "index.html").write_text(PAGE.format(far=f"{far}/portrait.png"))
    yield own
    for server in servers:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def chromium_with_extension(
    driver: Playwright, web_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    folder = tmp_path_factory.mktemp("extension") / "nanoedge"
    shutil.copytree(web_bundle / "extension", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "host_permissions": HOSTS}))
    loading = [f"--disable-extensions-except={folder}", f"--load-extension={folder}"]
    profile = tmp_path_factory.mktemp("profile")
    context = driver.chromium.launch_persistent_context(
        profile, executable_path=CHROMIUM, args=[*ARGUMENTS, *loading, f"--log-net-log={profile / 'net.json'}"],
        ignore_default_args=["--disable-extensions"],
    )
    context.set_default_timeout(60_000)
    yield context
    context.close()
    asked = asked_of(profile / "net.json")
    assert any(who.startswith("chrome-extension://") for who, _ in asked), "the log sees what the extension asks for"
    assert [(who, host) for who, host in asked if host != "127.0.0.1"] == []


def asked_of(log: Path) -> set[tuple[str, str]]:
    """Who asked which host, by Chromium's own log, where a page or an extension asked and not the browser itself."""
    parameters = (event.get("params", {}) for event in json.loads(log.read_text())["events"])
    return {
        (one["initiator"], urlsplit(one["url"]).hostname or "")
        for one in parameters
        if "://" in one.get("initiator", "") and one.get("url", "").startswith(("http", "ws"))
    }


@pytest.fixture
def installed(chromium_with_extension: BrowserContext, site: str) -> Iterator[Installed]:
    context = chromium_with_extension
    worker = context.service_workers[0] if context.service_workers else context.wait_for_event("serviceworker")
    page = context.new_page()
    page.goto(f"{site}/index.html")
    yield Installed(context=context, worker=worker, page=page)
    page.close()


def expected(instruction: str, folder: Path = PHOTO_FOLDER) -> np.ndarray:
    """What the Python runtime makes of the page's picture."""
    stream = BytesIO()
    with Image.open(folder / "astronaut.png") as photo:
        photo.crop((0, 0, 384, 320)).save(stream, "PNG")
    with Editor.open() as editor:
        result = editor.edit(EditRequest(image=stream.getvalue(), instruction=instruction, output_format="png"))
    with Image.open(BytesIO(result.image)) as picture:
        return np.asarray(picture.convert("RGBA"))


def over_grey(pixels: np.ndarray) -> np.ndarray:
    """The picture as it is seen: a canvas writes PNG from premultiplied colours, so faint ones are rounded."""
    share = pixels[..., 3:].astype(float) / 255
    return pixels[..., :3] * share + 128 * (1 - share)


def test_in_this_browser_and_undone(installed: Installed, site: str) -> None:
    installed.choose(route="browser")
    installed.begin(f"{site}/portrait.png")
    installed.wait_for("StaticText", "in this browser")
    installed.instruct("remove the background")
    wanted = over_grey(expected("remove the background"))
    assert psnr_db(over_grey(installed.picture()), wanted) >= 40
    assert installed.picture()[..., 3].min() == 0
    installed.wait_for("button", "Undo")
    installed.page.keyboard.press("Enter")  # it has the focus
    installed.wait_for("button", "Redo")
    # empty until the picture is loaded again
    shown = "address => document.getElementById('portrait').currentSrc === address"
    installed.page.wait_for_function(shown, arg=f"{site}/portrait.png")
    installed.page.keyboard.press("Enter")
    installed.wait_for("button", "Undo")
    assert psnr_db(over_grey(installed.picture()), wanted) >= 40
    installed.page.keyboard.press("Escape")
    assert not any(role == "dialog" for role, _ in installed.shown())


def test_opaque_pictures_stay_small(installed: Installed, site: str) -> None:
    installed.choose(route="browser")
    installed.begin(f"{site}/portrait.png")
    installed.instruct("warmer, blur the background")
    assert psnr_db(installed.picture(), expected("warmer, blur the background")) >= JPEG_PSNR_DB
    assert installed.page.evaluate("document.getElementById('portrait').src").startswith("data:image/jpeg")


def test_by_a_server(installed: Installed, site: str) -> None:
    origin = installed.worker.url.rpartition("/")[0]
    with started_server("--allow-origin", origin) as server:
        installed.choose(route="server", server=server.url, key="secret")
        installed.begin(f"{site}/portrait.png")
        installed.wait_for("StaticText", f"by 127.0.0.1:{server.port}")
        installed.instruct("remove the background")
        assert psnr_db(installed.picture(), expected("remove the background")) >= 60


def test_errors_are_said_at_the_picture(installed: Installed, site: str) -> None:
    page = installed.page
    installed.choose(route="browser")
    installed.begin(f"{site}/portrait.png")
    page.keyboard.press("Enter")
    installed.wait_for("StaticText", "The instruction is empty")
    page.keyboard.type("x" * 600)
    page.keyboard.press("Enter")
    installed.wait_for("StaticText", "too long for this model")
    with started_server() as stranger:
        installed.choose(route="server", server=stranger.url, key="")
        installed.begin(f"{site}/portrait.png")
        installed.instruct("warmer")
        installed.wait_for("StaticText", "start the server with --allow-origin")
    installed.begin(f"{site}/portrait.png")
    installed.instruct("warmer")
    installed.wait_for("StaticText", "can't be reached. Start it with: nanoedge serve --allow-origin chrome-extension")
    assert page.evaluate("document.getElementById('portrait').src") == f"{site}/portrait.png"


def test_a_picture_of_another_site_is_fetched_by_the_extension(installed: Installed) -> None:
    installed.choose(route="browser")
    far: str = installed.page.evaluate("document.getElementById('far').src")
    installed.begin(far)
    installed.instruct("warmer")
    installed.page.wait_for_function("document.getElementById('far').src.startsWith('data:image/jpeg')")


def test_an_edit_can_be_stopped(installed: Installed, site: str) -> None:
    installed.choose(route="browser")
    installed.begin(f"{site}/portrait.png")
    installed.instruct("upscale and remove the noise")
    installed.wait_for("button", "Stop")
    installed.page.keyboard.press("Escape")
    installed.begin(f"{site}/portrait.png")
    installed.instruct("remove the background")
    assert installed.picture().shape == (320, 384, 4), "the stopped edit is not the one that arrives"


def test_the_options_are_kept(installed: Installed) -> None:
    page = installed.context.new_page()
    page.goto(installed.worker.url.replace("background.js", "options.html"))
    assert "nanoedge serve --allow-origin chrome-extension://" in page.locator("#command").inner_text()
    page.get_by_label("In this browser").check()
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    assert installed.worker.evaluate("chrome.storage.local.get()")["route"] == "browser"
    page.get_by_label("By a nanoedge server").check()
    with started_server() as server:
        page.get_by_label("Address").fill(server.url)
        page.get_by_role("button", name="Save").click()
        page.get_by_text("The server answers.").wait_for()
        assert installed.worker.evaluate("chrome.storage.local.get()")["server"] == server.url
    page.close()


def test_permissions_are_few(web_bundle: Path) -> None:
    manifest = json.loads((web_bundle / "extension" / "manifest.json").read_text())
    assert manifest["permissions"] == ["activeTab", "contextMenus", "offscreen", "scripting", "storage"]
    assert "host_permissions" not in manifest and "content_scripts" not in manifest
