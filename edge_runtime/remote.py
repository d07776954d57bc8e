"""A configured provider at work: asked through its breaker, its times learned, what was sent and spent counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from edge_runtime import images, plugins
from edge_runtime.breaker import Breaker
from edge_runtime.errors import (
    AbandonedError,
    ImageError,
    InputError,
    ModerationError,
    NanoedgeError,
    ProviderBusyError,
    ProviderError,
    ProviderKeyError,
    ProviderLateError,
    ProviderRequestError,
    ProviderTimeoutError,
)
from edge_runtime.exchange import Exchange, Terms
from edge_runtime.finishing import written
from edge_runtime.limits import Limits
from edge_runtime.pace import Pace
from edge_runtime.provider import Accepts, Provider, ProviderSettings, RemotePicture, ResumableProvider
from edge_runtime.receipts import NoRecord, Receipt, Record
from edge_runtime.request import OUTPUT_FORMATS, EditRequest, EditResult
from edge_runtime.route import RemoteOffer

logger = logging.getLogger(__name__)

_LATE: Final = 3.0
"""A time-out counts as a failure when the provider had this many times its usual time; else the caller was hasty."""

_SAYING_NOTHING: Final = (AbandonedError, ProviderBusyError, ProviderLateError, InputError)
_ANSWERING: Final = (ModerationError, ProviderRequestError)
_UNTAKEN: Final = (
    ModerationError, ProviderRequestError, ProviderKeyError, ProviderBusyError, ProviderLateError, ImageError,
)  # fmt: skip
_FETCHED_LATER: Final = "result_lost"
_NO_RECORD: Final = NoRecord()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a provider was sent and took since the start. `errors` counts by the error's code."""

    sent_bytes: int = 0
    cost_usd: float = 0.0
    errors: Mapping[str, int]


class Remote:
    """One provider of this node. Safe to share between threads."""

    def __init__(
        self, settings: ProviderSettings, clock: Callable[[], float] = time.monotonic,
        decode: images.Decode = images.decode,
    ) -> None:
        self.settings = settings
        self.since = time.time()
        """When it was configured, in seconds since 1970."""
        self._decode = decode
        self._provider: Provider = plugins.load("providers", settings.kind)
        self._accepts: Accepts = self._provider.accepts(settings)
        self._breaker, self._pace, self._lock = Breaker(clock), Pace(), threading.Lock()
        self._sent_bytes, self._cost_usd = 0, 0.0
        self._errors: dict[str, int] = {}

    def offer(self, failure: str = "") -> RemoteOffer:
        """Return what the router sees of it; `failure` is why it failed in the request at hand, if it did."""
        known = self.settings
        return RemoteOffer(
            name=known.name, kind=known.kind, model=known.model, family=known.family or known.model,
            pictures=self._accepts.pictures, masks=self._accepts.masks, seconds=self._usual_seconds(),
            price_usd=known.price_usd, good_for=known.good_for, breaker=self._breaker.state,
            retry_seconds=self._breaker.wait_seconds, failure=failure,
        )

    @property
    def tally(self) -> Tally:
        """Return what was sent and spent so far."""
        with self._lock:
            return Tally(sent_bytes=self._sent_bytes, cost_usd=self._cost_usd, errors=dict(self._errors))

    @property
    def repeats(self) -> bool:
        """Say whether the same submission under the same Idempotency-Key, sent twice, is done once."""
        return self._accepts.repeats

    def edit(
        self, request: EditRequest, abandoned: Callable[[], bool] = lambda: False, record: Record = _NO_RECORD
    ) -> EditResult:
        """Have an edit done; raises ProviderError, ImageError for a photo that can't be read, or AbandonedError."""

        def ask(exchange: Exchange) -> RemotePicture:
            record.asking(self.settings.name)
            return self._provider.edit(request, self.settings, exchange)

        return self._counted(request, ask, abandoned, record)

    def resume(
        self, receipt: Receipt, request: EditRequest, abandoned: Callable[[], bool] = lambda: False,
        record: Record = _NO_RECORD,
    ) -> EditResult:
        """Wait for an edit that the provider took before, without asking for it again; raises as `edit` does."""
        provider = self._provider
        if not isinstance(provider, ResumableProvider):
            raise ProviderError(f"edits of the provider {self.settings.name} can't be waited for again")
        return self._counted(request, lambda exchange: provider.resume(receipt, self.settings, exchange), abandoned,
                             record)

    def _counted(
        self, request: EditRequest, ask: Callable[[Exchange], RemotePicture], abandoned: Callable[[], bool],
        record: Record,
    ) -> EditResult:
        began = time.monotonic()
        seconds = min(self.settings.timeout_seconds, request.deadline_seconds or self.settings.timeout_seconds)
        exchange = Exchange(self._terms(seconds, abandoned, record))
        try:
            with self._through_breaker(seconds):
                made = ask(exchange)
                result = self._result(request, made, exchange.sent_bytes, began)
        except NanoedgeError as error:
            if _is_over(error, exchange, record):
                record.released()
            with self._lock:
                self._sent_bytes += exchange.sent_bytes
                self._errors[error.code] = self._errors.get(error.code, 0) + 1
            # The message may hold what the user asked for, so the code has to do.
            logger.warning("the provider %s did not do an edit: %s", self.settings.name, error.code)
            raise
        with self._lock:
            self._sent_bytes += exchange.sent_bytes
            self._cost_usd += self.settings.price_usd
            self._pace.learn(self.settings.name, 1, 1, time.monotonic() - began)
        return result

    def _terms(self, seconds: float, abandoned: Callable[[], bool], record: Record) -> Terms:
        known = self.settings
        return Terms(
            provider=known.name, decode=self._decode, base_url=known.base_url,
            headers=self._provider.headers(known.key), secret=known.key,
            key_hosts=self._provider.key_hosts, result_hosts=known.result_hosts, seconds=seconds, abandoned=abandoned,
            key=record.key, taken=record.taken,
        )

    @contextmanager
    def _through_breaker(self, seconds: float) -> Iterator[None]:
        """Pass the breaker, and tell it how the edit went."""
        given = self._breaker.admit()
        if given is None:
            error = ProviderBusyError(f"the provider {self.settings.name} failed repeatedly and is left alone")
            error.retry_after_seconds = max(1, round(self._breaker.wait_seconds))
            raise error
        try:
            yield
        except ProviderKeyError:
            self._breaker.forbidden()
            raise
        except _ANSWERING:
            self._breaker.succeeded(given)
            raise
        except _SAYING_NOTHING:
            self._breaker.dismissed(given)
            raise
        except ProviderTimeoutError:
            hasty = seconds < _LATE * (self._usual_seconds() or 0.0)
            self._breaker.dismissed(given) if hasty else self._breaker.failed(given)
            raise
        except BaseException:
            self._breaker.failed(given)
            raise
        self._breaker.succeeded(given)

    def _result(self, request: EditRequest, made: RemotePicture, sent_bytes: int, began: float) -> EditResult:
        """Decode what came, so that nothing unchecked goes on, and encode it as it was asked for."""
        try:
            photo = self._decode(made.data, Limits(), request.size)
        except ImageError as error:
            raise ProviderError(
                f"the provider {self.settings.name} sent a picture that can't be used", got=str(error),
                hint="try again, or use another model",
            ) from error
        natural = photo.source_format if photo.source_format in OUTPUT_FORMATS else "png"
        encoded, media_type, more = written(photo.pixels, photo.has_alpha, natural, request)
        height, width = photo.pixels.shape[:2]
        return EditResult(
            image=encoded, media_type=media_type, width=width, height=height, plan=None, model=made.model,
            version=made.version, seconds={"central": time.monotonic() - began},
            warnings=(*made.warnings, *self._ignored(request), *photo.warnings, *more), seed=request.seed,
            cost_usd=self.settings.price_usd, sent_bytes=sent_bytes,
        )

    def _ignored(self, request: EditRequest) -> tuple[str, ...]:
        given = {
            "seed": request.seed is not None, "steps": request.steps is not None, "guidance": bool(request.guidance),
            "negative": request.negative is not None,
        }
        ignored = [name for name, is_given in given.items() if is_given and name not in self._accepts.fields]
        return tuple(f"{name} has no effect at the provider {self.settings.name}" for name in ignored)

    def _usual_seconds(self) -> float | None:
        learned = self._pace.predict(self.settings.name, 1)
        return self.settings.seconds if learned is None else learned


def _is_over(error: NanoedgeError, exchange: Exchange, record: Record) -> bool:
    """Say whether nothing is to be expected from the provider after this error: it never took the edit, or ended it."""
    if record.held:
        return exchange.ended and error.code != _FETCHED_LATER
    return isinstance(error, _UNTAKEN)
