"""Time of an edit in Chromium beside the Python runtime, on the same photos in one run, and their agreement.

    python -m benchmarks.web [--bundle FOLDER] [--photos FOLDER] [--rounds 5] [--threads 2]

Without `--bundle` one is exported, for which npm fetches onnxruntime-web. Times are of all stages but encoding, the
median of the rounds after one to warm up; both runtimes take turns, so that noise of the machine hits them alike.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.table import markdown, photographs
from edge_runtime.editor import Editor
from edge_runtime.request import EditRequest
from mobile_export.cli import export_command

SIZES = (512, 1024)
EDITS = (
    "warmer", "blur the background", "more clarity", "auto enhance", "vintage look", "remove the noise", "pixelate",
)
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)
LOAD = """async (options) => {
    const {NanoBanana} = await import("/nano-banana.js");
    globalThis.editor = await NanoBanana.load(undefined, options);
    return {device: editor.device, threads: editor.threads};
}"""
EDIT = """async ({photo, instruction}) => {
    const blob = await (await fetch(`data:image/png;base64,${photo}`)).blob();
    const {imageData, seconds} = await editor.edit(blob, instruction);
    const {data, width, height} = imageData;
    let text = "";
    for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
    return {seconds, pixels: btoa(text), width, height};
}"""


def measure(page: Page, editor: Editor, photo: bytes, instruction: str, rounds: int) -> tuple[float, float, float]:
    """Return milliseconds in the browser, milliseconds in Python, and PSNR in dB between their results."""
    times: tuple[list[float], list[float]] = ([], [])
    request = EditRequest(image=photo, instruction=instruction, output_format="png")
    for place in range(rounds + 1):
        found = page.evaluate(EDIT, {"photo": base64.b64encode(photo).decode("ascii"), "instruction": instruction})
        result = editor.edit(request)
        if place:
            times[0].append(1000 * sum(found["seconds"].values()))
            times[1].append(1000 * sum(value for stage, value in result.seconds.items() if stage != "encode"))
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(found["height"], found["width"], 4)
    with Image.open(BytesIO(result.image)) as picture:
        error = ((pixels.astype(float) - np.asarray(picture.convert("RGBA"))) ** 2).mean()
    return statistics.median(times[0]), statistics.median(times[1]), float(10 * np.log10(255**2 / max(error, 1e-5)))


def rows(page: Page, editor: Editor, photo: Image.Image, rounds: int) -> Iterator[list[str]]:
    """Yield a row of the table for each edit and size."""
    for side in SIZES:
        encoded = _png(photo, side)
        for instruction in EDITS:
            web, python, decibels = measure(page, editor, encoded, instruction, rounds)
            agreement = "equal" if decibels > 98 else f"{decibels:.1f}"
            yield [str(side), instruction, f"{web:.0f}", f"{python:.0f}", f"{web / python:.1f}", agreement]


@contextmanager
def served(bundle: Path) -> Iterator[str]:
    """Start the bundle's own server, and give its address."""
    process = subprocess.Popen(["node", str(bundle / "serve.mjs"), "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().rpartition("/")[0]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def run(bundle: Path, photo: Image.Image, rounds: int, threads: int) -> None:
    """Print the table."""
    with (
        served(bundle) as url, sync_playwright() as playwright, Editor.open(bundle / "model", threads=threads) as editor
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        page.set_default_timeout(300_000)
        page.goto(f"{url}/golden/golden.json")
        facts = page.evaluate(LOAD, {"threads": threads})
        print(f"Chromium {browser.version}, {facts['device']}, {facts['threads']} threads\n")
        header = ("long side", "edit", "Chromium ms", "Python ms", "ratio", "agreement dB")
        print(markdown(header, list(rows(page, editor, photo, rounds))))
        browser.close()


def _png(photo: Image.Image, side: int) -> bytes:
    scale, stream = side / max(photo.size), BytesIO()
    size = (round(photo.width * scale), round(photo.height * scale))
    photo.resize(size, Image.Resampling.LANCZOS).save(stream, "PNG")
    return stream.getvalue()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    photo = next(iter(photographs(given.photos).values()))
    with tempfile.TemporaryDirectory() as folder:
        bundle = given.bundle or Path(folder) / "nano-banana-web"
        if given.bundle is None:
            result = CliRunner().invoke(export_command, ["web", "nano-banana", "-o", str(bundle)])
            if result.exception is not None:
                raise result.exception
        run(bundle, photo, given.rounds, given.threads)


if __name__ == "__main__":
    main()
