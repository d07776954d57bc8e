"""Where the frozen program starts: what only a frozen program has to see to, then the command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import unpacked

_CERTIFICATES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora and its relatives
    "/etc/ssl/ca-bundle.pem",  # openSUSE
)


def settle() -> None:
    """Make the surroundings what they are for a program that is not frozen."""
    bundle = Path(sys._MEIPASS)  # type: ignore[attr-defined]  # PyInstaller's name for it
    if bundle.name.startswith(unpacked.PREFIX):
        unpacked.hold(bundle)
        unpacked.sweep(bundle.parent)
    _free_children()
    _find_certificates()


def _free_children() -> None:
    """Let programs that we start use the system's libraries: the loader has read the variable for us already."""
    original = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if original is None:
        os.environ.pop("LD_LIBRARY_PATH", None)
    else:
        os.environ["LD_LIBRARY_PATH"] = original


def _find_certificates() -> None:
    """Point OpenSSL to this system's authorities: the one that came along looks where its own system has them."""
    if "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
        return
    for path in _CERTIFICATES:
        if Path(path).is_file():
            os.environ["SSL_CERT_FILE"] = path
            return


if __name__ == "__main__":
    settle()
    from edge_runtime.cli import main

    main()
