"""Plug-ins: a file in a package is a plug-in, its name is the plug-in's name. Listing names imports none of them.

This is the only place of the project that handles ImportError. A frozen program must have been built with PyInstaller's
`collect_submodules` for these packages.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from edge_runtime.errors import MissingExtraError, NanoedgeError, OptionError

DISTRIBUTION: Final = "nanoedge"
_REQUIREMENT: Final = re.compile(r"\s*([A-Za-z0-9._-]+).*\bextra\s*==\s*[\"']([^\"']+)[\"']")


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the plug-ins of a kind, sorted.

    `kind` is a package such as `converters.targets`; one word such as `engines` is a package of edge_runtime.
    Raises MissingExtraError when this installation or frozen program has no such package.
    """
    package = _package(kind)
    with _explained(package):
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    found = pkgutil.iter_modules(spec.submodule_search_locations or [])
    return tuple(sorted(module.name for module in found if not module.name.startswith("_")))


def load(kind: str, name: str) -> Any:
    """Return what a plug-in exposes: `ENGINE` of a file in `engines`, `FAMILY` in `families`, and so on.

    A hyphen in `name` stands for the underscore in the file's name. Raises OptionError for an unknown name, and
    MissingExtraError when a library that the plug-in needs is not installed.
    """
    package, exposed, known = _package(kind), _exposed_name(kind), names(kind)
    if name.replace("-", "_") not in known:  # also keeps a name like "..errors" away from the import
        word = exposed.lower()
        raise OptionError(f"unknown {word}", got=name, allowed=", ".join(known) or "none", param=word)
    with _explained(package):
        module = importlib.import_module(f"{package}.{name.replace('-', '_')}")
    if not hasattr(module, exposed):
        raise NanoedgeError(f"the plug-in {module.__name__} exposes no {exposed}")
    return getattr(module, exposed)


def has(module: str) -> bool:
    """Return whether the top-level package of a module is installed, or part of this frozen program."""
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def require(module: str) -> None:
    """Raise MissingExtraError, with what to do, unless `has(module)`."""
    if not has(module):
        package = module.partition(".")[0]
        raise MissingExtraError(f"the package {package} is not installed", hint=_advice(package))


def _package(kind: str) -> str:
    return kind if "." in kind else f"edge_runtime.{kind}"


def _exposed_name(kind: str) -> str:
    """Return the last part of the package's name, singular, in capitals."""
    plural = kind.rpartition(".")[2]
    singular = plural[:-3] + "y" if plural.endswith("ies") else plural.removesuffix("s")
    return singular.upper()


@contextmanager
def _explained(package: str) -> Iterator[None]:
    """Turn the failed import of a library into MissingExtraError; our own faults stay what they are."""
    try:
        yield
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        library, ours = (error.name or "").partition(".")[0], package.partition(".")[0]
        if not library or (library == ours and not (missing and error.name in (ours, package))):
            raise
        if not missing:  # for instance a shared library that it needs
            raise MissingExtraError(f"the library {library} can't be loaded", got=error) from error
        what = f"the package {package}" if library == ours else f"the library {library}"
        raise MissingExtraError(f"{what} is not installed", hint=_advice(library)) from error


def _advice(library: str) -> str:
    if getattr(sys, "frozen", False):
        return f"this program was built without it: install the Python package {DISTRIBUTION} (see its README)"
    extra = _extra_of(library)
    return f"run: pip install '{DISTRIBUTION}[{extra}]'" if extra else f"install the package that provides {library}"


def _extra_of(library: str) -> str | None:
    """Return the extra of the installed distribution whose requirements name the library."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return None
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        name = match[1].lower().replace("-", "_").replace(".", "_") if match else ""
        if match and (name == library.lower() or name.startswith(f"{library.lower()}_")):  # or a package of a namespace
            return match[2]
    return None
