"""The stored results of whoever asks: what a view needs to go on from one, to store one, and to link to it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request

from edge_runtime.request import EditResult
from server.caller import caller
from server.inputs import Fields
from server.node import current_node
from server.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One caller's results; `base` is where the server was asked. Needs no request any more."""

    results: Results
    caller: str
    base: str

    def check(self, fields: Fields) -> None:
        """Raise NothingKeptError for a request whose result could not be stored: before the work, not after it."""
        if fields.flag("store") or fields.text("parent") is not None or fields.text("response_format") == "url":
            self.results.check()

    def get(self, address: str) -> bytes:
        """Return the picture of an address; raises OptionError, UnknownError."""
        return self.results.get(self.caller, address)

    def put(self, result: EditResult) -> str:
        """Store a result and return its address."""
        return self.results.put(self.caller, result.image, result.media_type)

    def put_if_wanted(self, result: EditResult, fields: Fields) -> str | None:
        """Store a result whose request asks for that, or goes on from a stored one; returns its address."""
        wanted = fields.flag("store") or fields.text("parent") is not None
        return self.put(result) if wanted else None

    def link(self, address: str) -> str:
        """Return a link for browsers."""
        return self.results.link(self.caller, address, self.base)


def current_shelf() -> Shelf:
    """Return the shelf of the current request's caller."""
    return Shelf(results=current_node().results, caller=caller(), base=request.url_root)
