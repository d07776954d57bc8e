"""Compiling an exported Swift package without Xcode: each target a module, Apple's libraries stand-ins."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from toolchains import INSIDE, Swift

HERE: Final = Path(__file__).parent / "swift"
STAND_INS: Final = ("CoreGraphics", "ImageIO", "CoreML")
LANGUAGE: Final = "5"
"""The mode that the package's tools version means."""

_RESOURCES: Final = """import Foundation
extension Bundle {{ static var module: Bundle {{ Bundle(path: "{inside}/kit/Sources/{module}")! }} }}
"""


def compiled(swift: Swift, folder: Path, kit: Path) -> str:
    """Compile a copy of the package in `folder` and return the program of its tests, as swift.command takes it."""
    shutil.copytree(kit, folder / "kit")
    shutil.copytree(HERE, folder / "check")
    module(swift, folder, "Wire", [folder / "check/wire/Conversation.swift"])
    for name in STAND_INS:
        module(swift, folder, name, [folder / f"check/stubs/{name}.swift"])
    for name in ("NanoBanana", "NanoBananaSelfTest"):
        resources = folder / f"{name}Resources.swift"
        resources.write_text(_RESOURCES.format(module=name, inside=INSIDE))
        module(swift, folder, name, [*sorted((folder / "kit/Sources" / name).rglob("*.swift")), resources])
    module(swift, folder, "NanoBananaTests", sorted((folder / "kit/Tests").rglob("*.swift")))
    libraries = ("NanoBananaTests", "NanoBananaSelfTest", "NanoBanana", "ImageIO", "CoreML", "CoreGraphics", "Wire")
    program(swift, folder, "check/device/main.swift", "device", libraries)
    return f"{INSIDE}/device"


def module(swift: Swift, folder: Path, name: str, sources: Sequence[Path], language: str = LANGUAGE) -> None:
    """Compile sources below `folder` as a module that others import; a warning is an error."""
    files = [source.relative_to(folder).as_posix() for source in sources]
    swift.run(
        folder, "swiftc", "-O", "-swift-version", language, "-warnings-as-errors", "-enable-testing", "-I.",
        "-parse-as-library", "-static", "-emit-library", "-emit-module", "-module-name", name, "-o", f"lib{name}.a",
        *files,
    )


def program(swift: Swift, folder: Path, main: str, name: str, libraries: Sequence[str]) -> None:
    """Compile a main.swift that uses modules of `folder`."""
    linked = [f"-l{library}" for library in libraries]
    swift.run(folder, "swiftc", "-O", "-swift-version", LANGUAGE, "-I.", "-L.", main, *linked, "-o", name)
