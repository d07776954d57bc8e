"""Rules about the tree itself that no linter holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def test_packaging_is_no_import_package() -> None:
    """It would shadow PyPI's packaging, and pytest would fail at collection."""
    assert not (ROOT / "packaging" / "__init__.py").exists()


@pytest.mark.parametrize("package", ["edge_runtime.cli", "edge_runtime.service", "server.app", "server.cli"])
def test_importing_does_not_bring_torch(package: str) -> None:
    check = f"import sys, {package}; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_paths_named_in_the_docs_exist() -> None:
    pattern = re.compile(r"`((?:edge_runtime|converters|server|benchmarks|docs|tests|requirements)/[\w./-]+\.\w+)`")
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]:
        for path in pattern.findall(document.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{document.name} names {path}"


def test_links_in_the_docs_resolve() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_file_pins_each_package_once_for_every_python_of_the_readme(version: str) -> None:
    lines = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8").split("\n")
    pins = [Requirement(line) for line in lines if line]
    valid = [pin.name.lower() for pin in pins if pin.marker is None or pin.marker.evaluate({"python_version": version})]
    assert len(set(valid)) == len(valid)
    # the tests run with one Python only: what an older one can't have must have a pin of its own
    assert {"numpy", "pillow", "onnxruntime", "flask", "click", "waitress", "urllib3"} <= set(valid)
