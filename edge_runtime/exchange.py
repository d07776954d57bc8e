"""HTTP with a provider: the one place that retries, keeps the deadline, and gives up when nobody waits any more.

A request is tried again after 429, 500, 502, 503, a 409 that says when (the same request is being worked on there), and
a connection that was never made. One that may have been taken and not answered (504, a timeout, a lost connection) is
tried again only where asking twice costs nothing. All attempts of a submission carry the same Idempotency-Key.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from urllib3 import encode_multipart_formdata

from edge_runtime.errors import (
    AbandonedError,
    ModerationError,
    ProviderBusyError,
    ProviderError,
    ProviderKeyError,
    ProviderLateError,
    ProviderRequestError,
    ProviderTimeoutError,
    UrlError,
)
from edge_runtime.fetch import FetchPolicy, fetch_image
from edge_runtime.images import Decode, decode
from edge_runtime.limits import Limits
from edge_runtime.receipts import Receipt
from edge_runtime.refusals import is_late, is_moderation, is_rule, message, retry_after
from edge_runtime.wire import Answer, Call, LostError, UnreachedError, sent_and_answered

MAX_ATTEMPTS: Final = 4
FIRST_PAUSE_SECONDS: Final = 0.25
POLL_SECONDS: Final = 0.5
LONGEST_POLL_SECONDS: Final = 3.0
_LOOK_AROUND_SECONDS: Final = 0.1
_TEMPORARY: Final = (429, 500, 502, 503)
_UNSURE: Final = 504
_CONFLICT: Final = 409
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_EVERYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
_TOLD_CHARACTERS: Final = 200

Part = str | tuple[str, bytes, str]
"""A part of a form: text, or a file as (name, bytes, media type)."""

Form = list[tuple[str, Part]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Under what an exchange takes place.

    `provider` is the name for messages, `secret` what must not appear in any. `base_url` is the operator's address:
    headers with the key go to its host, and to `key_hosts` (".example.com": all below it). Results come from public
    addresses (of `result_hosts` only, if given) or from the operator's own host. `abandoned` is asked often. `key` is
    the Idempotency-Key of submissions ("": any); `taken` is told what leads back to an edit that the provider took.
    """

    provider: str
    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: str = field(default="", repr=False)
    key_hosts: tuple[str, ...] = ()
    result_hosts: tuple[str, ...] | None = None
    seconds: float = 300.0
    abandoned: Callable[[], bool] = lambda: False
    decode: Decode = decode
    limits: Limits = Limits()
    key: str = ""
    taken: Callable[[Receipt], object] = lambda receipt: None


class Exchange:
    """All requests that one edit makes of a provider, under one deadline. `sent_bytes` counts bodies, retries too.

    `ended`: the provider took the edit and said how it ended.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._end = time.monotonic() + terms.seconds
        self._key = terms.key or secrets.token_hex(16)
        self.sent_bytes = 0
        self.ended = False

    @property
    def decode(self) -> Decode:
        """Return what decodes the pictures that go out."""
        return self._terms.decode

    @property
    def left_seconds(self) -> float:
        """Return what is left of the deadline; below 0 when it has passed."""
        return self._end - time.monotonic()

    def submit(self, url: str, body: object) -> Any:
        """POST a JSON body that has the edit done; returns the answer's JSON."""
        data = json.dumps(body).encode()
        return self._asked(Call("POST", url, data, {"Content-Type": "application/json", **self._submission()}))

    def submit_form(self, url: str, form: Form, headers: Mapping[str, str] = MappingProxyType({})) -> Any:
        """POST a form that has the edit done, with `headers` besides the usual ones; returns the answer's JSON."""
        data, content_type = encode_multipart_formdata(form)
        return self._asked(Call("POST", url, data, {"Content-Type": content_type, **headers, **self._submission()}))

    def taken(self, receipt: Receipt) -> None:
        """Say that the provider took the edit, and what leads back to it; to be called before waiting for it."""
        self._terms.taken(receipt)

    def look(self, url: str) -> Any:
        """GET the JSON at an address that asks for nothing new, such as the state of a job."""
        return self._asked(Call("GET", url), again=True)

    def polled(self, url: str, finished: Callable[[Any], bool], cancel: Callable[[], object] = lambda: None) -> Any:
        """Look again and again until `finished` says so; returns the last JSON.

        When the deadline passes or nobody waits any more, `cancel` is called before the error goes on.
        """
        pause = POLL_SECONDS
        try:
            while not finished(state := self.look(url)):
                self.pause(pause)
                pause = min(1.5 * pause, LONGEST_POLL_SECONDS)
        except (AbandonedError, ProviderTimeoutError):
            cancel()
            raise
        self.ended = True
        return state

    def tell(self, url: str) -> None:
        """POST nothing, once, even after the deadline; a failure is no news to anybody. For taking a job back."""
        try:
            sent_and_answered(Call("POST", url, b"", self._headers(url)), 5.0, 1 << 20, lambda: False)
        except (LostError, UnreachedError, ProviderError):
            return

    def picture(self, url: str) -> bytes:
        """Fetch a result by the link that the provider gave; raises ProviderError, also for a link that expired."""
        for last in (False, True):
            self._check()
            try:
                return fetch_image(url, self._terms.limits, self._result_policy(url))
            except UrlError as error:
                if last or error.code != "image_url_unreachable":
                    raise self._error(
                        ProviderError, "gave a link to the result that can't be used", got=str(error),
                        code="result_lost",
                    ) from error
            self.pause(FIRST_PAUSE_SECONDS)
        raise AssertionError("the last attempt returns or raises")

    def pause(self, seconds: float) -> None:
        """Wait, looking around; raises ProviderTimeoutError or AbandonedError as soon as there's no sense in it."""
        until = min(time.monotonic() + seconds, self._end)
        while (left := until - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left, _LOOK_AROUND_SECONDS))
        self._check()

    def refused(self, why: object) -> ModerationError:
        """Return the error for a picture or words that the provider refuses."""
        return self._moderation(self._told(why))

    def failed(self, why: object) -> ProviderError:
        """Return the error for a job that failed, or an answer that can't be used."""
        return self._error(ProviderError, "did not give a picture", got=self._told(why))

    def _asked(self, call: Call, *, again: bool = False) -> Any:
        call = Call(call.method, call.url, call.body, {**call.headers, **self._headers(call.url)})
        for attempt in range(1, MAX_ATTEMPTS + 1):
            self._check()
            last = attempt == MAX_ATTEMPTS
            try:
                self.sent_bytes += len(call.body)
                answer = sent_and_answered(call, self.left_seconds, 2 * self._terms.limits.max_bytes, self._gone)
            except (UnreachedError, LostError) as error:
                self._check()
                if last or (isinstance(error, LostError) and not again):
                    raise self._error(ProviderError, "did not answer", got=str(error)) from error
                self.pause(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
                continue
            if answer.status < 300:
                return self._json(answer)
            unsure = again and answer.status == _UNSURE and not is_late(answer)
            if last or not (_is_temporary(answer) or unsure):
                raise self._refusal(answer)
            self._wait_as_told(answer, FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    def _wait_as_told(self, answer: Answer, default: float) -> None:
        seconds = retry_after(answer)
        wait = default if seconds is None else seconds
        if wait >= self.left_seconds:
            raise self._refusal(answer)
        self.pause(wait)

    def _refusal(self, answer: Answer) -> ProviderError:
        got = f"status {answer.status}: {self._told(message(answer))}"
        if is_moderation(answer):
            return self._moderation(got)
        if answer.status in (401, 403) and not is_rule(answer):
            return self._error(ProviderKeyError, "does not accept the configured key", got=got)
        if answer.status in (429, 503) or _is_running(answer):
            error = self._error(ProviderBusyError, "has no capacity for this edit now", got=got)
            error.retry_after_seconds = round(retry_after(answer) or 0) or 1
            return error
        if is_late(answer):
            return self._error(ProviderLateError, "can't do this edit in time", got=got)
        if answer.status >= 500 or answer.status < 400:
            return self._error(ProviderError, "failed", got=got)
        return self._error(ProviderRequestError, "does not accept the request", got=got)

    def _moderation(self, got: str) -> ModerationError:
        return ModerationError(
            f"the provider {self._terms.provider} refuses this picture or these words", got=got,
            hint="ask for something else, or for fallback=never",
        )

    def _error(self, kind: type[ProviderError], what: str, *, got: object, code: str = "") -> ProviderError:
        return kind(
            f"the provider {self._terms.provider} {what}", got=got, hint="try again, or use another model", code=code
        )

    def _check(self) -> None:
        if self._terms.abandoned():
            raise AbandonedError("the client closed the connection while a provider worked on its edit")
        if self.left_seconds <= 0:
            raise self._error(ProviderTimeoutError, "did not finish in time", got=f"{self._terms.seconds:.1f} s")

    def _gone(self) -> bool:
        return self.left_seconds <= 0 or self._terms.abandoned()

    def _headers(self, url: str) -> Mapping[str, str]:
        """Return the headers for an address; raises ProviderError for one that the key must not be sent to."""
        if not self._is_own(url) and not self._is_trusted(url):
            raise self._error(ProviderError, "names an address outside its own hosts, which gets no key", got=url[:80])
        return self._terms.headers

    def _is_own(self, url: str) -> bool:
        return _origin(url) == _origin(self._terms.base_url)

    def _is_trusted(self, url: str) -> bool:
        scheme, host, _ = _origin(url)
        return scheme == "https" and any(
            host == name or (name.startswith(".") and host.endswith(name)) for name in self._terms.key_hosts
        )

    def _submission(self) -> dict[str, str]:
        return {"Idempotency-Key": self._key}

    def _result_policy(self, url: str) -> FetchPolicy:
        seconds = max(self.left_seconds, _LOOK_AROUND_SECONDS)
        if self._is_own(url):
            # The operator named this host, wherever it is; a redirect may not lead to another.
            _, host, port = _origin(url)
            return FetchPolicy(
                allowed_ports=(port,), allowed_hosts=(host,), seconds=seconds, allow_addresses=_EVERYWHERE
            )
        return FetchPolicy(allowed_hosts=self._terms.result_hosts, seconds=seconds)

    def _json(self, answer: Answer) -> Any:
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise self.failed("an answer that is not JSON") from error

    def _told(self, text: object) -> str:
        """Return the provider's words for a message of ours: one short line, without the key."""
        line = " ".join(str(text).split())
        return (line.replace(self._terms.secret, "***") if self._terms.secret else line)[:_TOLD_CHARACTERS]


def _is_temporary(answer: Answer) -> bool:
    return answer.status in _TEMPORARY or _is_running(answer)


def _is_running(answer: Answer) -> bool:
    """Say whether the same request is being worked on there, as another nanoedge says under one Idempotency-Key."""
    return answer.status == _CONFLICT and retry_after(answer) is not None


def _origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an address; nothing of one that can't be read."""
    try:
        target = urlsplit(url)
        return target.scheme, (target.hostname or "").lower(), target.port or _DEFAULT_PORTS.get(target.scheme, 0)
    except ValueError:
        return "", "", 0
