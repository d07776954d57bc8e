"""Makes the README's picture from photographs bundled with scikit-image: `python -m benchmarks.picture`."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from edge_runtime.editor import Editor
from edge_runtime.request import EditRequest

DESTINATION = Path("docs") / "images" / "before-after.jpg"
ROWS = (
    ("astronaut", ("blur the background", "Hintergrund entfernen", "make the background black and white", "sepia")),
    ("coffee", ("much cooler and brighter", "black and white", "teal and orange look", "warmer, with a vignette")),
)
HEIGHT, LABEL, GAP = 300, 34, 6


def checkerboard(size: tuple[int, int]) -> Image.Image:
    """Return the customary ground for transparent pictures."""
    rows, columns = np.indices((size[1], size[0])) // 12
    return Image.fromarray(np.where((rows + columns) % 2, 255, 214).astype(np.uint8)).convert("RGBA")


def labelled(photo: Image.Image, text: str) -> Image.Image:
    """Return the photo at its place in the picture, its instruction below."""
    ground = checkerboard(photo.size)
    ground.alpha_composite(photo.convert("RGBA"))
    cell = Image.new("RGB", (photo.width, photo.height + LABEL), "white")
    cell.paste(ground.convert("RGB"), (0, 0))
    ImageDraw.Draw(cell).text((4, photo.height + 8), text, fill="#222222", font=ImageFont.load_default(15))
    return cell


def row(editor: Editor, photo: Image.Image, instructions: tuple[str, ...]) -> Image.Image:
    """Return the photo and its edits side by side."""
    photo = photo.resize((round(photo.width * HEIGHT / photo.height), HEIGHT), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    photo.save(buffer, "PNG")
    cells = [labelled(photo, "before")]
    for text in instructions:
        result = editor.edit(EditRequest(image=buffer.getvalue(), instruction=text, output_format="png"))
        cells.append(labelled(Image.open(BytesIO(result.image)), f"“{text}”"))
    joined = Image.new("RGB", (sum(cell.width + GAP for cell in cells) - GAP, cells[0].height), "white")
    left = 0
    for cell in cells:
        joined.paste(cell, (left, 0))
        left += cell.width + GAP
    return joined


def main() -> None:
    """Write the picture."""
    with Editor.open() as editor:
        rows = [row(editor, Image.fromarray(np.asarray(getattr(data, name)())), texts) for name, texts in ROWS]
    width = max(line.width for line in rows)
    rows = [line.resize((width, round(line.height * width / line.width)), Image.Resampling.LANCZOS) for line in rows]
    picture = Image.new("RGB", (width, sum(line.height for line in rows)), "white")
    top = 0
    for line in rows:
        picture.paste(line, (0, top))
        top += line.height
    DESTINATION.parent.mkdir(parents=True, exist_ok=True)
    picture.save(DESTINATION, quality=85)


if __name__ == "__main__":
    main()
