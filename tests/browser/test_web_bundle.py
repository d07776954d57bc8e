"""The web bundle's module in real headless Chromium: its pixels against the Python runtime's."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, expect
from skimage import data

from edge_runtime.editor import Editor
from edge_runtime.errors import NanoedgeError
from edge_runtime.golden import CASES
from edge_runtime.request import EditRequest
from tests.browser.bundles import LOAD, compared, in_browser, png, served
from tests.browser.conftest import ARGUMENTS, CHROMIUM

pytestmark = pytest.mark.browser
LEAST_PSNR_DB = 40.0

PORTRAIT, CAT = png(data.astronaut()[:400]), png(data.chelsea())
WIDE = png(data.coffee().repeat(2, 0).repeat(2, 1)[:702, :1190])
CLEAR = png(np.dstack([data.coffee()[:200, :300], np.linspace(0, 255, 300).astype(np.uint8)[None].repeat(200, 0)]))
_Y, _X = np.mgrid[:400, :512]
PAINTED = png((((_Y - 250) / 40) ** 2 + ((_X - 120) / 30) ** 2 < 1).astype(np.uint8) * 255)


def plan(*edits: tuple[Any, ...]) -> dict[str, Any]:
    members = ("adjust", "amount", "region", "color")
    return {"edits": [dict(zip(members, edit, strict=False)) for edit in edits]}


KINDS = [
    ("tone and colour", "warmer and a bit more contrast", CAT, None),
    ("the full graphs", "vintage look with grain", CAT, None),
    ("a region", "blur the background", PORTRAIT, None),
    ("cut-out", "remove the background", PORTRAIT, None),
    ("a new background", "replace the background with blue", PORTRAIT, None),
    ("skin", "smooth the skin", PORTRAIT, None),
    ("local contrast", "more clarity and dehaze", WIDE, None),
    ("automatic corrections", "auto enhance", CAT, None),
    ("noise", "remove the noise", CAT, None),
    ("noise, in tiles", plan(("denoise", 0.7, "all")), WIDE, None),
    ("filling a hole", "remove this", PORTRAIT, PAINTED),
    ("inside a mask", "darker", PORTRAIT, PAINTED),
    ("mending inside a mask", plan(("denoise", 0.8, "masked")), PORTRAIT, PAINTED),
    ("enlarging", "upscale", CAT, None),
    ("turning", "rotate left", CAT, None),
    ("mirroring", plan(("flip_horizontal", 1.0, "all"), ("flip_vertical", 1.0, "all")), CAT, None),
    ("cropping", "crop", CAT, None),
    ("cropping to the subject", plan(("crop", 0.6, "subject")), PORTRAIT, None),
    ("a border", plan(("frame", 0.7, "all", "orange")), CAT, None),
    ("blocks", "pixelate", CAT, None),
    ("blocks on the subject", plan(("pixelate", 0.6, "subject")), PORTRAIT, None),
    ("blocks inside a mask", plan(("pixelate", 0.3, "masked")), PORTRAIT, PAINTED),
    ("every kind of region", plan(
        ("denoise", 0.6, "subject"), ("exposure", 0.5, "background"), ("warmth", 0.3, "all"),
        ("skin_smooth", 0.6, "skin"), ("invert", 1.0, "masked"),
    ), PORTRAIT, PAINTED),
    ("beyond", "make the dog fly to the moon", CAT, None),
    ("no mask", "erase what I marked", CAT, None),
]

WRONG: list[Any] = [
    "", " \n ", "x" * 600, "ü" * 300, "x" * 2600, plan(("warmth", 3, "all")), plan(("vignette", 0.5, "skin")),
    plan(("nonsense", 0.5)), plan(("frame", 0.5, "all", "mauve")), plan(("warmth", 0.5, "all", "red")),
    plan(("inpaint", 1, "masked")), {"edits": [], "extra": 1}, {"edits": [{"adjust": "warmth"}] * 65},
]


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with Editor.open() as opened:
        yield opened


@pytest.fixture(scope="module")
def page(chromium: Browser, web_bundle: Path) -> Iterator[Page]:
    """A page of the bundle's own server with an open editor; nothing else may be asked of the network."""
    strangers: list[str] = []
    with served(web_bundle) as url:
        context = chromium.new_context()
        opened = context.new_page()
        opened.set_default_timeout(120_000)
        opened.on(
            "request",
            lambda request: None if request.url.startswith((url, "data:", "blob:")) else strangers.append(request.url),
        )
        opened.goto(f"{url}/golden/golden.json")
        facts = opened.evaluate(LOAD, {})
        assert facts["device"] == "wasm" and facts["threads"] >= 1 and facts["notes"] == []
        yield opened
        context.close()
    assert strangers == []


@pytest.mark.parametrize(("wish", "photo", "mask"), [kind[1:] for kind in KINDS], ids=[kind[0] for kind in KINDS])
def test_pixels_plan_and_warnings_agree(
    wish: Any, photo: bytes, mask: bytes | None, page: Page, editor: Editor
) -> None:
    agreement = compared(page, editor, photo, wish, mask)
    assert agreement.psnr_db >= LEAST_PSNR_DB
    assert agreement.found["plan"] == agreement.expected.plan.to_json()
    assert agreement.found["warnings"] == list(agreement.expected.warnings)
    assert agreement.found["png"] > 100


@pytest.mark.parametrize("wish", [plan((name, 0.7, "all")) for name in ("warmth", "pixelate", "upscale")])
def test_transparency_is_kept_as_well_as_a_canvas_can(wish: Any, page: Page, editor: Editor) -> None:
    """A canvas stores premultiplied colours, so those of nearly transparent pixels lose steps before we see them."""
    agreement = compared(page, editor, CLEAR, wish)
    assert agreement.psnr_db >= 30


@pytest.mark.parametrize("wish", WRONG, ids=lambda wish: str(wish)[:40])
def test_errors_have_the_words_of_the_python_runtime(wish: Any, page: Page, editor: Editor) -> None:
    found = in_browser(page, CAT, wish)
    with pytest.raises(NanoedgeError) as raised:
        request = {"instruction": wish} if isinstance(wish, str) else {"plan": wish}
        editor.edit(EditRequest(image=CAT, **request))
    assert (found["error"], found["kind"]) == (str(raised.value), type(raised.value).__name__)
    assert found["param"] == raised.value.param


def test_masks_that_cannot_be_used_are_refused_in_the_same_words(page: Page, editor: Editor) -> None:
    for mask in (png(np.zeros((400, 512), np.uint8)), png(np.full((100, 400), 255, np.uint8))):
        found = in_browser(page, PORTRAIT, "darker", mask)
        with pytest.raises(NanoedgeError) as raised:
            editor.edit(EditRequest(image=PORTRAIT, mask=mask, instruction="darker"))
        assert found["error"] == str(raised.value)


def test_bytes_that_are_no_picture_are_refused(page: Page) -> None:
    found = in_browser(page, b"these are not pixels", "warmer")
    assert found["kind"] == "ImageError" and "can't be decoded by this browser" in found["error"]


def test_an_edit_can_be_watched_and_stopped(page: Page) -> None:
    found = page.evaluate(
        """async (photo) => {
            const blob = await (await fetch(`data:image/png;base64,${photo}`)).blob();
            const controller = new AbortController();
            const seen = [];
            const onProgress = ({stage, fraction}) => {
                seen.push([stage, fraction]);
                if (stage === "restore") controller.abort();
            };
            const ended = await editor.edit(blob, "remove the noise", {signal: controller.signal, onProgress})
                .then(() => "finished", (error) => error.name);
            const before = await editor.edit(blob, "warmer", {signal: controller.signal}).catch((error) => error.name);
            const after = await editor.edit(blob, "warmer");
            return {ended, before, seen, width: after.width};
        }""",
        base64.b64encode(WIDE).decode(),
    )
    assert found["ended"] == found["before"] == "AbortError"
    assert [stage for stage, _ in found["seen"]] == ["text", "decode", "restore"]
    assert found["width"] == 1190, "the next edit is carried out"


def test_pictures_of_every_kind_are_taken(page: Page) -> None:
    widths = page.evaluate(
        """async (photo) => {
            const blob = await (await fetch(`data:image/png;base64,${photo}`)).blob();
            const image = new Image();
            image.src = URL.createObjectURL(blob);
            await image.decode();
            const canvas = new OffscreenCanvas(30, 20);
            canvas.getContext("2d").drawImage(image, 0, 0);
            const data = canvas.getContext("2d").getImageData(0, 0, 25, 20);
            const pictures = [image, await createImageBitmap(blob), canvas, data];
            const results = [];
            for (const picture of pictures) results.push((await editor.edit(picture, "warmer")).width);
            const broken = await editor.edit(new Image(), "warmer").catch((error) => error.message);
            return [...results, broken];
        }""",
        base64.b64encode(CAT).decode(),
    )
    assert widths[:4] == [451, 451, 30, 25]
    assert "The picture can't be read" in widths[4]


def test_without_isolation_one_thread_is_used_and_named(chromium: Browser, web_bundle: Path, editor: Editor) -> None:
    context = chromium.new_context()
    with served(web_bundle) as url:
        page = context.new_page()

        def plain(route: Any) -> None:
            answer = route.fetch()
            kept = {name: value for name, value in answer.headers.items() if not name.startswith("cross-origin")}
            route.fulfill(response=answer, headers=kept)

        page.route("**/*", plain)
        page.goto(f"{url}/golden/golden.json")
        facts = page.evaluate(LOAD, {"threads": 2})
        assert facts["threads"] == 1 and "not cross-origin isolated" in facts["notes"][0]
        assert compared(page, editor, CAT, "warmer").psnr_db >= LEAST_PSNR_DB
        context.close()


def test_damage_and_wrong_options_are_said(chromium: Browser, web_bundle: Path) -> None:
    context = chromium.new_context()
    with served(web_bundle) as url:
        page = context.new_page()
        page.goto(f"{url}/golden/golden.json")
        load = f"(options) => ({LOAD})(options).catch((error) => [error.name, error.message])"
        assert "Allowed: auto, wasm, webgpu" in page.evaluate(load, {"device": "abacus"})[1]
        assert page.evaluate(load, {"device": "webgpu"})[1].startswith("This browser has no WebGPU device")
        assert page.evaluate(load, {"threads": 0})[0] == "EngineError"
        page.route("**/text.onnx", lambda route: route.fulfill(body=b"x" * 10))
        page.evaluate(LOAD, {})
        found = in_browser(page, CAT, "warmer")
        assert found["kind"] == "ArtifactError" and "text.onnx has the wrong size" in found["error"]
        page.unroute("**/text.onnx")
        assert "error" not in in_browser(page, CAT, "warmer"), "what arrives the second time is used"
        context.close()


def test_the_golden_vectors_pass_on_the_self_test_page(chromium: Browser, web_bundle: Path) -> None:
    context = chromium.new_context()
    with served(web_bundle) as url:
        page = context.new_page()
        page.goto(f"{url}/selftest.html")
        expect(page.get_by_role("status")).to_contain_text("All passed", timeout=120_000)
        assert page.locator("#plan li").count() == len(CASES)
        context.close()


def test_the_demo_page_edits_a_photo_and_offers_it(chromium: Browser, web_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "portrait.png").write_bytes(PORTRAIT)
    context = chromium.new_context()
    with served(web_bundle) as url:
        page = context.new_page()
        page.goto(f"{url}/")
        expect(page.get_by_role("status")).to_contain_text("WebAssembly", timeout=60_000)
        page.set_input_files("#file", tmp_path / "portrait.png")
        page.get_by_label("What should change?").fill("remove the background")
        page.get_by_role("button", name="Edit", exact=True).click()
        expect(page.get_by_label("What was done")).to_contain_text("remove background", timeout=60_000)
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Download").click()
        downloading.value.save_as(tmp_path / "edited.png")
        with Image.open(tmp_path / "edited.png") as edited:
            assert edited.size == (512, 400) and edited.getextrema()[3] == (0, 255)
        page.get_by_label("What should change?").fill("x" * 600)
        page.get_by_role("button", name="Edit", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("too long for this model")
        context.close()


@pytest.mark.slow
def test_webgpu_agrees_too(driver: Playwright, web_bundle: Path, editor: Editor) -> None:
    """Chromium's own software for WebGPU runs the same shaders as a GPU, slowly."""
    software = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    arguments = [argument for argument in ARGUMENTS if argument != "--disable-gpu"]
    small = png(data.astronaut()[:192, 100:356])
    with served(web_bundle) as url:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*arguments, *software])
        page = browser.new_page()
        page.set_default_timeout(300_000)
        page.goto(f"{url}/golden/golden.json")
        assert page.evaluate(LOAD, {})["device"] == "wasm", "software is no reason to leave the CPU unasked"
        assert page.evaluate(LOAD, {"device": "webgpu"})["device"] == "webgpu"
        for wish in ("blur the background", "remove the noise"):
            assert compared(page, editor, small, wish).psnr_db >= LEAST_PSNR_DB
        browser.close()
