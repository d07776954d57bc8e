"""Many edits in pictures: before and after of each with its plan, as JPEG strips and a Markdown page.

    python -m benchmarks.gallery [--model DIR] [--out docs/gallery] [--page docs/gallery.md]

Photographs are those in scikit-image's wheel and crops of them; nothing is downloaded. Every instruction is given as
text. An edit that fails, has an empty plan or warns is listed as such, and the exit code says how many were not made.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import skimage
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.picture import checkerboard
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.errors import NanoedgeError
from edge_runtime.plan import Plan
from edge_runtime.request import EditRequest, EditResult

FOLDER = Path(skimage.__file__).parent / "data"
LONG_SIDE = 640
"""Pixels of the photographs that are edited."""

CELL_HEIGHT, GAP = 300, 6
MOST_BYTES = 60 * 1024

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of width and height."""

PHOTOS: Mapping[str, tuple[str, Box]] = {
    "astronaut": ("astronaut.png", (0.0, 0.0, 1.0, 1.0)),
    "face": ("astronaut.png", (0.25, 0.0, 0.65, 0.4)),
    "helmet": ("astronaut.png", (0.45, 0.45, 1.0, 1.0)),
    "cat": ("chelsea.png", (0.0, 0.0, 1.0, 1.0)),
    "coffee": ("coffee.png", (0.0, 0.0, 1.0, 1.0)),
    "saucer": ("coffee.png", (0.2, 0.2, 0.85, 0.9)),
    "rocket": ("rocket.jpg", (0.0, 0.0, 1.0, 1.0)),
    "launch pad": ("rocket.jpg", (0.2, 0.25, 0.8, 1.0)),
    "motorcycle": ("motorcycle_left.png", (0.0, 0.0, 1.0, 1.0)),
    "galaxies": ("hubble_deep_field.jpg", (0.0, 0.0, 1.0, 1.0)),
    "cameraman": ("camera.png", (0.0, 0.0, 1.0, 1.0)),
    "gravel": ("gravel.png", (0.0, 0.0, 1.0, 1.0)),
    "moon": ("moon.png", (0.0, 0.0, 1.0, 1.0)),
    "page": ("page.png", (0.0, 0.0, 1.0, 1.0)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One edit. `spoil` damages the photo first; `painted` is the box that the user painted over."""

    photo: str
    instruction: str
    spoil: Callable[[Image.Image], Image.Image] | None = None
    painted: Box | None = None


def noisy(photo: Image.Image) -> Image.Image:
    """Add noise of standard deviation 20."""
    noise = np.random.default_rng(0).normal(0.0, 20.0, (photo.height, photo.width, 3))
    return Image.fromarray(np.clip(np.asarray(photo) + noise, 0, 255).astype(np.uint8))


def blocky(photo: Image.Image) -> Image.Image:
    """Compress as JPEG of quality 10."""
    buffer = BytesIO()
    photo.save(buffer, "JPEG", quality=10)
    return Image.open(buffer).convert("RGB")


def blurry(photo: Image.Image) -> Image.Image:
    """Blur by 1.5 pixels."""
    return photo.filter(ImageFilter.GaussianBlur(1.5))


def scratched(photo: Image.Image) -> Image.Image:
    """Draw bright scratches."""
    copy, random = photo.copy(), np.random.default_rng(3)
    for _ in range(7):
        ends = random.random(4) * (photo.width, photo.height, photo.width, photo.height)
        ImageDraw.Draw(copy).line(tuple(ends), fill=(235, 230, 220), width=2)
    return copy


def dark(photo: Image.Image) -> Image.Image:
    """Take nearly two stops of light."""
    return photo.point([round(code * 0.45) for code in range(256)] * 3)


def orange(photo: Image.Image) -> Image.Image:
    """Give the photo the cast of a lamp."""
    return Image.fromarray((np.asarray(photo) * np.array([1.0, 0.85, 0.6])).astype(np.uint8))


def flat(photo: Image.Image) -> Image.Image:
    """Take half of the contrast."""
    return photo.point([round(64 + code * 0.5) for code in range(256)] * 3)


CASES = (
    Case(photo="astronaut", instruction="make it warmer and a bit brighter"),
    Case(photo="astronaut", instruction="blur the background"),
    Case(photo="astronaut", instruction="Hintergrund entfernen"),
    Case(photo="astronaut", instruction="replace the background with plain light blue"),
    Case(photo="astronaut", instruction="make the background black and white"),
    Case(photo="astronaut", instruction="mach den Hintergrund dunkler"),
    Case(photo="astronaut", instruction="tone down the reds"),
    Case(photo="astronaut", instruction="make the blues stronger"),
    Case(photo="astronaut", instruction="crop to the subject"),
    Case(photo="astronaut", instruction="pencil sketch"),
    Case(photo="face", instruction="smooth the skin a little"),
    Case(photo="face", instruction="Haut glätten und etwas wärmer"),
    Case(photo="face", instruction="Film noir"),
    Case(photo="face", instruction="pixelate what I painted", painted=(0.35, 0.25, 0.75, 0.6)),
    Case(photo="face", instruction="sharpen", spoil=blurry),
    Case(photo="helmet", instruction="HDR look"),
    Case(photo="helmet", instruction="cross-processed look"),
    Case(photo="cat", instruction="remove the background"),
    Case(photo="cat", instruction="Hintergrund unscharf"),
    Case(photo="cat", instruction="white background"),
    Case(photo="cat", instruction="golden hour look"),
    Case(photo="cat", instruction="more clarity and vibrance"),
    Case(photo="cat", instruction="remove the noise", spoil=noisy),
    Case(photo="cat", instruction="remove the compression artifacts", spoil=blocky),
    Case(photo="cat", instruction="it is blurry, make it sharp", spoil=blurry),
    Case(photo="cat", instruction="Kratzer entfernen", spoil=scratched),
    Case(photo="cat", instruction="mirror it"),
    Case(photo="coffee", instruction="vintage look"),
    Case(photo="coffee", instruction="teal and orange look"),
    Case(photo="coffee", instruction="pastel colours"),
    Case(photo="coffee", instruction="much cooler, with a vignette"),
    Case(photo="coffee", instruction="fix the lighting", spoil=dark),
    Case(photo="coffee", instruction="fix the colours", spoil=orange),
    Case(photo="coffee", instruction="automatischer Kontrast", spoil=flat),
    Case(photo="saucer", instruction="Sepia mit Filmkorn"),
    Case(photo="saucer", instruction="add a white border"),
    Case(photo="saucer", instruction="erase what I marked", painted=(0.28, 0.77, 0.36, 0.85)),
    Case(photo="rocket", instruction="brighten the shadows"),
    Case(photo="rocket", instruction="make it look better"),
    Case(photo="rocket", instruction="sky bluer and more contrast"),
    Case(photo="rocket", instruction="tilt-shift"),
    Case(photo="rocket", instruction="um 90 Grad nach links drehen"),
    Case(photo="launch pad", instruction="dreamy glow"),
    Case(photo="launch pad", instruction="cyanotype"),
    Case(photo="motorcycle", instruction="turn it into night"),
    Case(photo="motorcycle", instruction="make it pop"),
    Case(photo="motorcycle", instruction="Schwarzweiß mit hohem Kontrast"),
    Case(photo="galaxies", instruction="deeper blacks and more saturation"),
    Case(photo="galaxies", instruction="posterize"),
    Case(photo="cameraman", instruction="Bleistiftzeichnung"),
    Case(photo="cameraman", instruction="dehaze"),
    Case(photo="cameraman", instruction="Rauschen entfernen", spoil=noisy),
    Case(photo="gravel", instruction="invert the colours"),
    Case(photo="gravel", instruction="solarize"),
    Case(photo="moon", instruction="mehr Kontrast und Klarheit"),
    Case(photo="page", instruction="make the whites whiter"),
)


def photograph(case: Case) -> Image.Image:
    """Return the photo of a case as it goes in."""
    file, box = PHOTOS[case.photo]
    photo = Image.open(FOLDER / file).convert("RGB")
    sides = (photo.width, photo.height, photo.width, photo.height)
    photo = photo.crop(tuple(round(share * side) for share, side in zip(box, sides, strict=True)))
    photo.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    return photo if case.spoil is None else case.spoil(photo)


def encoded(photo: Image.Image) -> bytes:
    """Return the photo as PNG."""
    buffer = BytesIO()
    photo.save(buffer, "PNG")
    return buffer.getvalue()


def painted_mask(case: Case, photo: Image.Image) -> bytes | None:
    """Return what the user painted, white on black."""
    if case.painted is None:
        return None
    mask = Image.new("L", photo.size)
    sides = (photo.width, photo.height, photo.width, photo.height)
    corners = tuple(share * side for share, side in zip(case.painted, sides, strict=True))
    ImageDraw.Draw(mask).ellipse(corners, fill=255)
    return encoded(mask)


def cell(photo: Image.Image) -> Image.Image:
    """Return the photo at its size in the strip, over a checkerboard where it is transparent."""
    scale = CELL_HEIGHT / photo.height
    small = photo.convert("RGBA").resize((round(photo.width * scale), CELL_HEIGHT), Image.Resampling.LANCZOS)
    ground = checkerboard(small.size)
    ground.alpha_composite(small)
    return ground.convert("RGB")


def strip(before: Image.Image, after: Image.Image) -> bytes:
    """Return before and after side by side as JPEG of at most MOST_BYTES."""
    cells = (cell(before), cell(after))
    joined = Image.new("RGB", (cells[0].width + GAP + cells[1].width, CELL_HEIGHT), "white")
    joined.paste(cells[0], (0, 0))
    joined.paste(cells[1], (cells[0].width + GAP, 0))
    buffer = BytesIO()
    for quality in range(88, 20, -6):
        buffer = BytesIO()
        joined.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    return buffer.getvalue()


def described(plan: Plan) -> str:
    """Return the plan in one line of Markdown per edit."""
    def line(adjust: str, amount: float, region: str, color: str | None) -> str:
        where = "" if region == "all" else f" @ {region}"
        return f"`{adjust} {amount:+.2f}{where}{'' if color is None else ' ' + color}`"

    return "<br>".join(line(edit.adjust, edit.amount, edit.region, edit.color) for edit in plan.edits) or "*empty*"


def entry(case: Case, plan: str, notes: str, picture: str) -> str:
    """Return one row of the page's table."""
    given = [case.photo]
    if case.spoil is not None:
        given.append(f"made {case.spoil.__name__}")
    if case.painted is not None:
        given.append("an ellipse painted")
    return f"| “{case.instruction}”<br>{', '.join(given)} | {picture} | {plan}{notes} |"


def made(editor: Editor, case: Case, number: int, out: Path, page: Path) -> tuple[str, str]:
    """Carry one case out; returns its row and, if it was not made, why."""
    photo = photograph(case)
    request = EditRequest(
        image=encoded(photo), mask=painted_mask(case, photo), instruction=case.instruction, output_format="png"
    )
    try:
        result: EditResult = editor.edit(request)
    except NanoedgeError as error:
        return entry(case, "", f"**failed**: {error}", "—"), str(error)
    name = f"{number:02d}-{case.photo.replace(' ', '-')}.jpg"
    (out / name).write_bytes(strip(photo, Image.open(BytesIO(result.image))))
    address = Path(os.path.relpath(out, page.parent)) / name
    notes = "".join(f"<br>*{warning}*" for warning in result.warnings)
    row = entry(case, described(result.plan), notes, f"![before and after]({address.as_posix()})")
    return row, "" if result.plan.edits else "the plan is empty"


def main() -> None:
    """Write strips and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"))
    parser.add_argument("--page", type=Path, default=Path("docs/gallery.md"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("[0-9][0-9]-*.jpg"):
        old.unlink()
    with Editor.open(options.model) as editor:
        done = [made(editor, case, number, options.out, options.page) for number, case in enumerate(CASES, 1)]
        version = editor.artifact.version
    missing = [f"{case.instruction}: {why}" for case, (_, why) in zip(CASES, done, strict=True) if why]
    lines = [
        "# Gallery", "",
        f"{len(CASES)} edits by nano-banana {version}, each from its instruction alone: `python -m benchmarks.gallery`."
        f" Not made: {len(missing)}.", "",
        "| instruction | before, after | plan |", "|---|---|---|", *(row for row, _ in done), "",
    ]
    options.page.write_text("\n".join(lines), encoding="utf-8")
    print(f"{len(CASES) - len(missing)} of {len(CASES)} edits made", *missing, sep="\n")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
