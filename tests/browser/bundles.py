"""The web bundle in a browser: serving it as its README says, and editing with it from Python."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import skimage
from PIL import Image
from playwright.sync_api import Page

from edge_runtime.editor import Editor
from edge_runtime.request import EditRequest

PHOTO_FOLDER = Path(skimage.__file__).parent / "data"
EDIT = """async ({photo, mask, wish}) => {
    const blob = async (data) => (await fetch(`data:image/png;base64,${data}`)).blob();
    try {
        const result = await editor.edit(await blob(photo), wish, {mask: mask && await blob(mask)});
        const bytes = new Uint8Array(await (await result.toBlob()).arrayBuffer());
        const {data, width, height} = result.imageData;
        let text = "";
        for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
        const {plan, warnings, seconds} = result;
        return {pixels: btoa(text), png: bytes.length, width, height, plan, warnings, seconds};
    } catch (error) {
        return {error: error.message, kind: error.name, param: error.param};
    }
}"""
LOAD = """async (options) => {
    const {NanoBanana} = await import("/nano-banana.js");
    globalThis.editor = await NanoBanana.load(undefined, options);
    const {device, threads, notes} = editor;
    return {device, threads, notes};
}"""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What the browser made and what the Python runtime makes of the same; equal pixels have 99 dB."""

    psnr_db: float
    found: dict[str, Any]
    expected: Any


@contextmanager
def served(bundle: Path) -> Iterator[str]:
    """Start the bundle's own server on a free port, and give the address of its folder."""
    process = subprocess.Popen(["node", str(bundle / "serve.mjs"), "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip().rpartition("/")[0]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def png(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def in_browser(page: Page, photo: bytes, wish: object, mask: bytes | None = None) -> dict[str, Any]:
    """Edit with the page's `editor`: result or error as the page tells it."""
    encoded = {"photo": _text(photo), "mask": mask and _text(mask), "wish": wish}
    found: dict[str, Any] = page.evaluate(EDIT, encoded)
    return found


def compared(page: Page, editor: Editor, photo: bytes, wish: object, mask: bytes | None = None) -> Agreement:
    """Edit in the browser and here."""
    found = in_browser(page, photo, wish, mask)
    assert "error" not in found, found
    wished: dict[str, Any] = {"instruction": wish} if isinstance(wish, str) else {"plan": wish}
    expected = editor.edit(EditRequest(image=photo, mask=mask, output_format="png", **wished))
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(found["height"], found["width"], 4)
    with Image.open(BytesIO(expected.image)) as picture:
        return Agreement(psnr_db=psnr_db(pixels, np.asarray(picture.convert("RGBA"))), found=found, expected=expected)


def psnr_db(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape, (one.shape, other.shape)
    error = ((one.astype(float) - other) ** 2).mean()
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
