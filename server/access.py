"""Who may do what: the API key of a request, its scope, its rate, and what its rule lets go to providers.

A node without keys asks for none. As soon as one was made, everything but the page, the health checks and the
description of the API needs one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_runtime.errors import AccessError, NanoedgeError, RouteSpentError, ScopeError, UnsureError
from edge_runtime.receipts import Record
from edge_runtime.request import EditRequest, EditResult
from edge_runtime.route import Allowance, Fallback
from server.buckets import Buckets, Level, RateError
from server.caller import ANYBODY
from server.key_store import KeyStore
from server.keys import ApiKey, Scope
from server.spending import Spending

if TYPE_CHECKING:
    from edge_runtime.service import EditService

HEADERS: Final = ("Authorization", "X-Api-Key", "X-Key")
"""Where a key may stand: as OpenAI's clients send it, as most gateways do, and as BFL's."""

_OPEN_PATHS: Final = frozenset(("/", "/healthz", "/readyz", "/openapi.json"))
_OPEN_FOLDERS: Final = ("/page/", "/v1/results/")
"""Links to results carry their own permission: a signature that expires."""

_SCOPES: Final = {"/metrics": Scope.METRICS, "/v1/models": Scope.READ, "/v1/plans": Scope.READ, "/v1/route": Scope.READ}
_MODELS: Final = "/v1/models/"
_SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))

Header = Callable[[str], "str | None"]
"""The value of a request's header by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known of a request before its body: its method, its path, and its headers by name."""

    method: str
    path: str
    header: Header

    @property
    def scope(self) -> Scope | None:
        """Return the scope that it needs; None for what is open to all."""
        path = self.path
        if path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS):
            return None
        return _SCOPES.get(path, Scope.READ if path.startswith(_MODELS) else Scope.EDIT)

    @property
    def limited(self) -> bool:
        """Say whether it counts against the key's rate: looking does not."""
        return self.method not in _SAFE_METHODS

    @property
    def secret(self) -> str | None:
        """Return the API key that it carries; raises AccessError for another kind of authorization."""
        given, *others = (self.header(name) for name in HEADERS)
        if given:
            scheme, _, secret = given.partition(" ")
            if scheme.lower() != "bearer":
                raise AccessError(
                    "this kind of authorization is not known here", got=scheme[:20], allowed="Authorization: Bearer KEY"
                )
            return secret.strip()
        return next(filter(None, others), None)


class Access:
    """The keys of one node at work. Safe to share between threads."""

    def __init__(self, folder: Path | None, buckets: Buckets | None = None) -> None:
        self.keys, self.spending, self.buckets = KeyStore(folder), Spending(folder), buckets or Buckets()

    def key(self, asked: Asked) -> ApiKey | None:
        """Return the key of a request, None where it needs none.

        Raises AccessError (401) without a key that holds, and ScopeError (403) for one that is for something else.
        """
        scope = asked.scope
        if scope is None or not self.keys.in_use:
            return None
        secret = asked.secret
        if not secret:
            raise AccessError(
                "this server wants an API key", allowed="Authorization: Bearer KEY, or X-Api-Key: KEY",
                hint="make one with: nanoedge keys create", code="key_missing",
            )
        key = self.keys.check(secret)
        if scope not in key.rule.scopes:
            raise ScopeError(
                "this API key is not for that", got=", ".join(sorted(one.value for one in key.rule.scopes)),
                allowed=scope.value,
            )
        return key

    def counted(self, key: ApiKey | None, asked: Asked) -> Level | None:
        """Count a request against its key's rate; returns what is left, None without a limit. Raises RateError."""
        if key is None or key.rule.rate is None or not asked.limited:
            return None
        taken, level = self.buckets.take(key.id, key.rule.rate)
        if not taken:
            raise RateError(level)
        return level

    def look(self, asked: Asked) -> None:
        """Raise what `key` and `counted` would, counting nothing: for a request whose body hasn't come yet."""
        key = self.key(asked)
        if key is not None and key.rule.rate is not None and asked.limited:
            level = self.buckets.look(key.id, key.rule.rate)
            if not level.remaining:
                raise RateError(level)

    def bounded(self, wanted: EditRequest, caller: str) -> EditRequest:
        """Return a request with the allowance of whoever asks: the rule of the key, what its caps leave."""
        key = self.keys.get(caller)
        if key is None:
            return wanted
        return replace(wanted, allowance=Allowance(providers=key.rule.providers, usd=self.spending.left(key)))

    def edited(
        self, wanted: EditRequest, caller: str, service: EditService, edit: Callable[[EditRequest], EditResult],
        record: Record,
    ) -> EditResult:
        """Have an edit done within the allowance of whoever asks, and count what a provider took for it.

        What is held for a job stays so while its provider may still deliver.
        """
        if caller == ANYBODY:
            return edit(wanted)
        key = self.keys.still(caller)
        most = _highest_price(wanted, key, service)
        if most == 0 or not key.rule.capped:
            with self.patience(caller):
                result = edit(self.bounded(wanted, caller))
            if result.cost_usd:
                self.spending.add(key.id, result.cost_usd, record.key or None)
            return result
        hold, held = self.spending.hold(key, most, record.key or None)
        spent = 0.0
        try:
            with self.patience(caller):
                allowance = Allowance(providers=key.rule.providers, usd=held)
                result = edit(replace(wanted, allowance=allowance))
            spent = result.cost_usd
            return result
        finally:
            if spent or not record.held:
                self.spending.settle(hold, spent)

    def resumed(self, caller: str, resume: Callable[[], EditResult], record: Record) -> EditResult:
        """Go on with a job that a provider was asked for before, and count once what it took, whatever was held.

        The key's rule isn't asked again: the photo is there already, and perhaps paid for.
        """
        if caller == ANYBODY:
            return resume()
        try:
            result = resume()
        except UnsureError:  # it may have been paid: what was held stays
            raise
        except NanoedgeError:
            if not record.held:
                self.spending.drop(record.key)
            raise
        self.spending.add(caller, result.cost_usd, record.key)
        return result

    @contextmanager
    def patience(self, caller: str) -> Iterator[None]:
        """Say in an error about a spend cap when it is counted anew."""
        try:
            yield
        except RouteSpentError as error:
            key = self.keys.get(caller)
            if key is not None:
                error.retry_after_seconds = self.spending.seconds_to_more(key)
            raise

    def close(self) -> None:
        """Close the databases."""
        self.keys.close()
        self.spending.close()


def _highest_price(wanted: EditRequest, key: ApiKey, service: EditService) -> float:
    """Return the most dollars that a provider could take for a request; 0 where none may have it."""
    if not service.remotes or (wanted.fallback or service.fallback) is Fallback.NEVER:
        return 0.0
    most = math.inf if wanted.max_cost_usd is None else wanted.max_cost_usd
    rule = key.rule.providers
    prices = (remote.settings.price_usd for name, remote in service.remotes.items() if rule is None or name in rule)
    return max((price for price in prices if price <= most), default=0.0)
