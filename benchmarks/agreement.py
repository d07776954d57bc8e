"""Does an artifact do what the adjustments are defined to do? PSNR against the definitions in float64.

    python -m benchmarks.agreement [--model DIR] [--photos FOLDER]

Every tone and colour adjustment at four amounts on every photograph, the plan given, PNG in and out.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from benchmarks.table import markdown, photographs
from converters.nano_banana import definitions
from converters.nano_banana.vocabulary import vocabulary
from edge_runtime.editor import EMBEDDED, Editor
from edge_runtime.request import EditRequest

LOCAL = ("sharpen", "blur", "clarity", "dehaze", "glow", "hdr", "tilt_shift", "sketch")
"""Detail: large blurs run on a reduced copy, so they follow their definition less closely by design."""


def edited(editor: Editor, photo: Image.Image, name: str, amount: float) -> np.ndarray:
    """Edit through the public interface; returns float64 (h, w, 3) in 0..1."""
    buffer = BytesIO()
    photo.save(buffer, "PNG")
    plan = {"edits": [{"adjust": name, "amount": amount, "region": "all"}]}
    result = editor.edit(EditRequest(image=buffer.getvalue(), plan=plan, output_format="png"))
    return np.asarray(Image.open(BytesIO(result.image)).convert("RGB")) / 255.0


def report(model: Path, photos: dict[str, Image.Image]) -> str:
    """Return the table: mean and worst PSNR of each adjustment."""
    found: dict[str, list[float]] = defaultdict(list)
    with Editor.open(model) as editor:
        # what belongs to one region alone has no meaning on a whole photo; tests/converters compares it
        names = [name for stage in definitions.STAGES for name in stage]
        for name in [name for name in names if "all" in vocabulary().adjustment(name).regions]:
            signs = (-1.0, -0.4, 0.4, 1.0) if vocabulary().adjustment(name).low < 0 else (0.25, 0.5, 1.0)
            for photo in photos.values():
                pixels = np.asarray(photo) / 255.0
                for amount in signs:
                    reference = definitions.apply(pixels, {name: amount})
                    image = edited(editor, photo, name, amount)
                    error = float(np.mean((reference - image) ** 2))
                    score = 99.0 if error < 1e-10 else peak_signal_noise_ratio(reference, image, data_range=1.0)
                    found[name].append(float(score))
    rows = [[name, "detail" if name in LOCAL else "tone, colour", f"{np.mean(values):.1f}", f"{min(values):.1f}"]
            for name, values in found.items()]
    worst = min(min(values) for name, values in found.items() if name not in LOCAL)
    return markdown(["adjustment", "kind", "mean dB", "worst dB"], rows) + (
        f"\n\nTone and colour, worst of {len(photos)} photographs: **{worst:.1f} dB** (wanted: 40)."
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--photos", type=Path, help="folder; default: scikit-image's bundled photographs")
    options = parser.parse_args()
    print(report(options.model, photographs(options.photos)))


if __name__ == "__main__":
    main()
