"""Everything that docs/benchmarks.md shows, in one go: `make bench`, or

    python -m benchmarks.bench [--data FOLDER] [--photos FOLDER] [--write docs/benchmarks.md] [--quick]

The embedded int8 artifact beside a float artifact converted from the same checkpoint, in the same run. `--data` has
photographs and masks in the layout of docs/nano-banana.md; without it the masks are not measured, which is said.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks import agreement, corrections, cut_outs, gier, graphs, language, mask_iou, node, peers, restoration
from benchmarks.sibling import say, sibling
from benchmarks.table import jpeg, markdown, photographs
from edge_runtime.artifact import Artifact
from edge_runtime.editor import EMBEDDED
from edge_runtime.machine import Machine

RESTORED_PIXELS = 256
"""Side of the photographs that CBM3D runs on too: it takes a minute for one of 512."""


# so that it takes minutes; every scenario has its turn
BENCHED = ("--edits", "22", "--rounds", "3", "--side", "512", "--rate", "1,2,4", "--seconds", "25")


def benched(models: dict[str, Path]) -> str:
    """Return what `nanoedge bench` reports of the artifacts, and of a node that is started for it."""
    with tempfile.TemporaryDirectory() as folder, node.started() as served:
        report = Path(folder) / "report"
        command = [sys.executable, "-m", "edge_runtime.cli", "bench", *BENCHED, "-o", str(report)]
        for label, path in models.items():
            command += ["--model", f"{label}={path}"]
        address = f"http://127.0.0.1:{served.port}"
        subprocess.run([*command, "--url", address], check=True, stdout=subprocess.DEVNULL)
        text = (report / "report.md").read_text(encoding="utf-8")
    return text.partition("\n\n")[2].replace("## ", "### ").strip()


def machine() -> str:
    """Describe the machine and the libraries in one line."""
    found = Machine.detect()
    model = next(
        (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), platform.machine()
    )
    return (
        f"{found.cores} cores ({model}), {found.memory_bytes / 2**30:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, onnxruntime {version('onnxruntime')}, "
        f"{datetime.now(timezone.utc):%Y-%m-%d}"
    )


def sizes(folders: dict[str, Path]) -> str:
    """Return the table of components: precision and bytes."""
    rows = []
    for name, folder in folders.items():
        components = Artifact.open(folder).manifest.components
        for part in components:
            rows.append([name, part.name, part.precision, f"{part.total_bytes / 1e6:.2f}", part.note or ""])
        rows.append([name, "all", "", f"{sum(part.total_bytes for part in components) / 1e6:.2f}", ""])
    return markdown(["artifact", "component", "precision", "MB", "note"], rows)


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with seg/, for the masks")
    parser.add_argument("--photos", type=Path, help="folder; default: scikit-image's bundled photographs")
    parser.add_argument("--write", type=Path, help="also write the page here")
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    options = parser.parse_args()
    int8, fp32, int4 = EMBEDDED, sibling("fp32"), sibling("int4")
    photos = photographs(options.photos)
    rounds, edits = (8, 50) if options.quick else (60, 500)
    phrases, negations = (
        json.loads(file.read_text(encoding="utf-8")) for file in (language.PRODUCT, language.NEGATIONS)
    )
    recipes = {"int8 (embedded)": int8, "fp32": fp32, "int4": int4}
    sections = {
        "Latency through HTTP": ("A background edit, decoding and encoding included; the models interleaved. "
                                 "`nano-banana` is the embedded int8 artifact.",
                                 lambda: node.latency([fp32], photos, rounds)),
        "Graphs": ("Each component alone, milliseconds, the artifacts interleaved.",
                   lambda: graphs.report({"int8": int8, "fp32": fp32}, photos, rounds)),
        "Start": ("From starting the process.", lambda: node.start_up(jpeg(next(iter(photos.values())), 512))),
        "Memory": (f"Resident, through mixed edits of photographs from {node.MIXED_SIZES[0]} to "
                   f"{node.MIXED_SIZES[-1]} px.", lambda: node.memory(photos, edits)),
        "Language": ("Phrases set aside, written without sight of the training grammar: right set of adjustments, "
                     "signs and regions.", lambda: language.report(recipes, phrases)),
        "What must not change": ("Wishes that say it (\"warmer but not brighter\"); their author knew the training "
                                 "phrases.", lambda: language.report({"int8 (embedded)": int8}, negations)),
        "Real requests": ("GIER: what forum users asked for, and whether the plan holds an adjustment of the kind that "
                          "editors then used.",
                          lambda: _with(options.data, "instructions", lambda: _gier(options.data, int8))),
        "Agreement with the definitions": ("PSNR of the int8 artifact against the definitions in float64, plan given.",
                                           lambda: agreement.report(int8, photos)),
        "Masks": ("Photographs held out from training.",
                  lambda: _with(options.data, "seg", lambda: _masks(options.data, int8, fp32))),
        "Restoration": ("PSNR in dB on photographs held out from training, the int8 artifact, then the float one.",
                        lambda: _with(options.data, "photos", lambda: _restoration(options.data, int8, fp32))),
        "Automatic corrections": ("Planted damage on photographs held out from training: mean CIEDE2000 / PSNR to the "
                                  "original.", lambda: _with(options.data, "photos", lambda: corrections.report(
                                      corrections.of_artifact(int8), corrections.held_out(options.data, 24)))),
        "nanoedge bench": (f"`nanoedge bench {' '.join(BENCHED)}` and the three artifacts by `--model`, see "
                           "[bench.md](bench.md); the node is the embedded artifact on the same machine.",
                           lambda: benched({"fp32": fp32, "int8": int8, "int4": int4})),
        "Sizes": ("", lambda: sizes(recipes)),
        "Peers": ("What else one would pick for parts of this, on the same photographs in one run: ratios of time with "
                  "95 % intervals, above 1 where the peer takes longer. "
                  "Alone: `python -m benchmarks.peers --data FOLDER`.",
                  lambda: peers.report(options.data, max(5, rounds // 2), peers.THREADS)),
    }
    page = ["# Benchmarks", f"Printed by `python -m benchmarks.bench --data FOLDER` on: {machine()}."]
    for title, (lead, measure) in sections.items():
        say(f"measuring: {title}")
        section = [f"## {title}", *([lead] if lead else []), measure()]
        print("\n\n".join(section), end="\n\n", flush=True)
        page += section
    if options.write:
        options.write.write_text("\n\n".join(page) + "\n", encoding="utf-8")


def _with(data: Path | None, part: str, measure: Callable[[], str]) -> str:
    if data is None or not (data / part).is_dir():
        return f"Not measured: {data} has no folder {part} (give a folder by --data, docs/nano-banana.md says which)."
    return measure()


def _masks(data: Path, int8: Path, fp32: Path) -> str:
    found = mask_iou.report({"int8": mask_iou.of_artifact(int8), "fp32": mask_iou.of_artifact(fp32)}, data)
    return f"{found}\n\nCut-outs at {cut_outs.SIDE_PIXELS} px:\n\n{cut_outs.report({'int8': int8, 'fp32': fp32}, data)}"


def _gier(data: Path, int8: Path) -> str:
    answers = gier.answers_of(int8, gier.read(data / gier.SAMPLE))
    shown = [answer for answer in answers if answer.request.half == gier.HALVES[0]]
    return gier.totals(answers) + "\n\nThe open half by operator:\n\n" + gier.by_operator(shown)


def _restoration(data: Path, int8: Path, fp32: Path) -> str:
    photos = restoration.held_out(data, 12, RESTORED_PIXELS)
    bm3d = len(photos) if find_spec("bm3d") else 0
    note = "" if bm3d else "\n\nCBM3D was not run: `pip install bm3d` (its licence forbids commercial use)."
    parts = [
        restoration.report(restoration.of_artifact(int8), photos, bm3d),
        restoration.report(restoration.of_artifact(fp32), photos),
    ]
    return "\n\n".join(parts) + note


def _cpu_lines() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text().splitlines() if info.exists() else []


if __name__ == "__main__":
    main()
