"""Plug-ins: names without imports, and errors that tell a missing library from a fault of ours."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime import plugins
from edge_runtime.errors import MissingExtraError, NanoedgeError, OptionError

ROOT = Path(__file__).parents[2]
PLUGINS = {
    "good.py": "ENGINE = 'good'",
    "two_words.py": "ENGINE = 'two words'",
    "needs_library.py": "import a_library_that_nobody_has.part",
    "needs_own.py": "import shop.missing",
    "needs_name.py": "from shop import missing",
    "empty.py": "",
    "broken.py": "raise ZeroDivisionError('at import')",
    "_private.py": "raise ZeroDivisionError('never imported')",
    "folder/__init__.py": "ENGINE = 'folder'",
    "notes.txt": "not a plug-in",
}


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A package `shop.engines` with the plug-ins above."""
    for name, text in {**PLUGINS, "__init__.py": ""}.items():
        file = tmp_path / "shop" / "engines" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "shop" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield "shop.engines"
    for module in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[module]


def test_names_are_listed_without_importing_a_plugin(shop):
    assert plugins.names(shop) == (
        "broken", "empty", "folder", "good", "needs_library", "needs_name", "needs_own", "two_words",
    )  # fmt: skip
    assert "shop.engines.broken" not in sys.modules


@pytest.mark.parametrize(("name", "value"), [("good", "good"), ("two-words", "two words"), ("folder", "folder")])
def test_load(shop, name, value):
    assert plugins.load(shop, name) == value


@pytest.mark.parametrize("name", ["other", "", "_private", "__init__", "..good", "good.ENGINE", "notes", "folder/x"])
def test_unknown_names_are_refused(shop, name):
    with pytest.raises(OptionError, match="Unknown engine.*good"):
        plugins.load(shop, name)


def test_a_missing_library_is_named(shop):
    with pytest.raises(MissingExtraError, match="^The library a_library_that_nobody_has is not installed") as caught:
        plugins.load(shop, "needs_library")
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize(
    ("requirement", "extra"),
    [("a-library-that-nobody-has>=2; extra == 'shop'", "shop"), ('A_library.that-nobody_has ; extra == "shop"', "shop"),
     ("a-library-that-nobody-has-sdk>=1; extra == 'shop'", "shop"),
     ("a-library-that-nobody-has", None), ("other; extra == 'shop'", None)],
)  # fmt: skip
def test_the_extra_is_found_in_the_metadata(shop, tmp_path, requirement, extra):
    info = tmp_path / "nanoedge-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: nanoedge\nVersion: 0.1.0\nRequires-Dist: {requirement}\n"
    )
    with pytest.raises(MissingExtraError) as caught:
        plugins.load(shop, "needs_library")
    assert ("pip install 'nanoedge[shop]'" in str(caught.value)) == (extra is not None)


@pytest.mark.parametrize("name", ["needs_own", "needs_name"])
def test_a_fault_of_the_package_itself_stays_an_import_error(shop, name):
    with pytest.raises(ImportError, match="missing"):
        plugins.load(shop, name)


def test_an_error_at_import_is_not_hidden(shop):
    with pytest.raises(ZeroDivisionError):
        plugins.load(shop, "broken")


def test_a_plugin_must_expose_its_kind(shop):
    with pytest.raises(NanoedgeError, match=r"shop\.engines\.empty exposes no ENGINE"):
        plugins.load(shop, "empty")


@pytest.mark.parametrize("kind", ["absent_package.targets", "edge_runtime.absent"])
def test_a_package_that_is_not_installed(kind):
    with pytest.raises(MissingExtraError):
        plugins.names(kind)


def test_one_word_means_a_package_of_edge_runtime():
    assert "onnxruntime" in plugins.names("engines") == plugins.names("edge_runtime.engines")
    assert plugins.load("engines", "onnxruntime").name == "onnxruntime"


def test_importing_and_listing_loads_no_heavy_library():
    program = """
import sys, edge_runtime
from edge_runtime import plugins
assert edge_runtime.__version__ and "numpy" not in sys.modules
assert plugins.names("engines") and plugins.names("families")
assert not {"numpy", "onnxruntime", "torch"} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_names_and_load_work_from_a_zip(shop, tmp_path, monkeypatch):
    import zipfile

    archive = tmp_path / "boutique.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("boutique/__init__.py", "")
        file.writestr("boutique/families/__init__.py", "")
        file.writestr("boutique/families/tiny.py", "FAMILY = 'tiny'")
    monkeypatch.syspath_prepend(archive)
    assert plugins.names("boutique.families") == ("tiny",)
    assert plugins.load("boutique.families", "tiny") == "tiny"
