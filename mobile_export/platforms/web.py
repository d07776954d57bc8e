"""The web: an ES module on onnxruntime-web, with a demo page and a browser extension.

    nano-banana.js, .d.ts    what a page imports; js/ is the procedure, in a worker
    model/                   the artifact, as it is
    ort/                     onnxruntime-web: WebAssembly alone, and with WebGPU
    extension/               a whole extension: its own pages, and js/, model/ and the WebAssembly build once more
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edge_runtime import __version__
from mobile_export import templates
from mobile_export.model import copy_artifact
from mobile_export.npm_package import NpmPackage
from mobile_export.platform import Notice, Order

RUNTIME: Final = NpmPackage(
    name="onnxruntime-web",
    version="1.30.0",
    integrity="sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)
WASM_FILES: Final = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WEBGPU_FILES: Final = (
    "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm",
)
_LICENCE: Final = Path(__file__).parents[1] / "licences" / "onnxruntime.txt"
_EXTENSION: Final = "extension"


class WebPlatform:
    """See `Platform`."""

    name = "web"
    summary = "An ES module for browsers, with a demo page and a browser extension."
    targets = ("onnx",)
    families = ("nano-banana",)
    options: Mapping[str, str] = MappingProxyType(
        {
            RUNTIME.name: f"The archive of `npm pack {RUNTIME.spec}`, or that package unpacked. "
            "Default: fetched with npm, and compared with the digest of this version.",
        }
    )
    golden = "golden"

    def write(self, order: Order, folder: Path) -> tuple[Notice, ...]:
        """See `Platform.write`."""
        artifact, given = order.artifact, order.options.get(RUNTIME.name)
        values = {
            "version": __version__, "numbers": _numbers(__version__), "artifact": artifact.version,
            "recipe": artifact.manifest.recipe, "runtime": RUNTIME.spec,
        }
        templates.copy("web", folder, values)
        shutil.copytree(folder / "js", folder / _EXTENSION / "js")
        shutil.copy(folder / "nano-banana.js", folder / _EXTENSION)
        for place in (folder, folder / _EXTENSION):
            copy_artifact(artifact, place / "model")
        with RUNTIME.opened(Path(given) if given else None) as package:
            _copy_files(package / "dist", (*WASM_FILES, *WEBGPU_FILES), folder / "ort")
            _copy_files(package / "dist", WASM_FILES, folder / _EXTENSION / "ort")
        return (Notice(part=RUNTIME.spec, licence="MIT", text=_LICENCE.read_text(encoding="utf-8")),)


def _numbers(version: str) -> str:
    """Return the version as browsers want it of an extension: up to four whole numbers."""
    return ".".join(re.findall(r"\d+", version)[:4])


def _copy_files(source: Path, files: tuple[str, ...], folder: Path) -> None:
    for file in files:
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, target)


PLATFORM: Final = WebPlatform()
