"""Every error that nanoedge raises on purpose, in one tree.

    NanoedgeError                500, exit 1
    ├── InputError               400, exit 2   what the caller sent can't be used
    │   ├── ImageError           400           truncated, empty, 0x0
    │   │   ├── ImageTypeError   415           not an image, or a format that is not read
    │   │   └── ImageSizeError   413           too many bytes or pixels
    │   ├── InstructionError     400           empty, too long, not text
    │   ├── PlanError            400           an edit plan with unknown or out-of-range members
    │   ├── OptionError          400           size, output format, quality, n ...
    │   └── UrlError             400           image_url forbidden or unreachable
    ├── UnknownModelError        404, exit 3
    ├── ArtifactError            500, exit 4   damaged, of an unknown version, or unsafe
    │   └── SignatureError       500           not signed by whom the operator trusts
    ├── EngineError              500, exit 5   the hardware backend can't do what was asked
    │   └── WorkerError          500           the process that runs the model ended or hung, twice on one edit
    ├── MissingExtraError        501, exit 6   a library of an optional extra is not installed
    ├── ConversionError          500, exit 7   a checkpoint can't be converted
    ├── BusyError                503, exit 8   the node can't take another edit now
    │   └── RestingError         503           a model crashed repeatedly and is left alone for a while
    ├── RouteError               422, exit 9   no model here and no provider can do the request as it is asked
    │   ├── RouteForbiddenError  403           one could, were it allowed to leave this machine for whoever asks
    │   ├── RouteSpentError      429           one could, had whoever asks money left to spend
    │   ├── RouteCapacityError   503           one could, were there memory, or were its provider not failing
    │   │   └── RouteQueueError  503           one could, were the queue not too long for the deadline
    │   └── RouteDeadlineError   504           one could, were there more time
    ├── ProviderError            502, exit 10  a remote provider failed, or answered what can't be used
    │   ├── ProviderRequestError 502           it doesn't accept the request
    │   ├── ProviderKeyError     502           it doesn't accept the key
    │   ├── ModerationError      422           it refuses the picture or the words
    │   ├── ProviderBusyError    503           it asks for patience, or is left alone after failures
    │   ├── ProviderTimeoutError 504           no answer in the time that there was
    │   │   └── ProviderLateError 504          it says itself that the time is too short
    │   └── UnsureError          502           nobody knows whether it did the edit
    ├── SourceError              502, exit 13  a model can't be fetched from there, or brought there
    ├── StateError               500, exit 12  what the node keeps can't be read or written
    │   ├── FullError            507           there is no room to keep it
    │   └── NothingKeptError     501           the node was started without a place to keep things
    ├── QuotaError               429           whoever asks keeps as much as it may
    ├── GoneError                410           it was kept, and has expired
    ├── UnknownError             404           nothing of this name is kept, or it is somebody else's
    ├── RepeatError              409           the same request is being worked on, or the job has ended
    │   └── ReusedKeyError       422           an Idempotency-Key that came with another body before
    ├── AccessError              401, exit 11  no API key, or one that doesn't hold
    │   ├── ScopeError           403           the key is not for this
    │   └── RateError            429           the key was used too often (server/buckets.py)
    └── AbandonedError           499           the client went away; reaches the log, never the client

A message answers four questions: what, got, allowed, what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class NanoedgeError(Exception):
    """Base class. `status` is the HTTP status, `exit_code` the command's, `code` a stable slug."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "internal_error"
    retry_after_seconds: int | None = None
    """When trying again makes sense; the server sends it as Retry-After."""

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        allowed: object = None,
        hint: str = "",
        code: str = "",
        param: str | None = None,
    ) -> None:
        """Compose the message. `param` names the request field at fault, if there is one."""
        parts = [what.rstrip(".")]
        if got is not None:
            parts.append(f"got {_shorten(got)}")
        if allowed is not None:
            parts.append(f"allowed: {_shorten(allowed, 400)}")
        if hint:
            parts.append(hint.rstrip("."))
        super().__init__(". ".join(part[:1].upper() + part[1:] for part in parts) + ".")
        self.code = code or self.default_code
        self.param = param


class InputError(NanoedgeError):
    """What the caller sent can't be used."""

    status, exit_code, default_code = 400, 2, "bad_input"


class ImageError(InputError):
    """The photo is empty, truncated or damaged."""

    default_code = "bad_image"


class ImageTypeError(ImageError):
    """Not an image, or of a format that is not read."""

    status, default_code = 415, "unsupported_image"


class ImageSizeError(ImageError):
    """Too many bytes or pixels."""

    status, default_code = 413, "image_too_large"


class InstructionError(InputError):
    """The instruction is empty, too long or missing."""

    default_code = "bad_instruction"


class PlanError(InputError):
    """The edit plan has unknown or out-of-range members."""

    default_code = "bad_plan"


class OptionError(InputError):
    """An option such as size, format or quality can't be used."""

    default_code = "bad_option"


class UrlError(InputError):
    """The image_url is forbidden or unreachable."""

    default_code = "bad_image_url"


class UnknownModelError(NanoedgeError):
    """There is no model of this name here."""

    status, exit_code, default_code = 404, 3, "model_not_found"


class ArtifactError(NanoedgeError):
    """The artifact is damaged, of an unknown version, or unsafe."""

    exit_code, default_code = 4, "bad_artifact"


class SignatureError(ArtifactError):
    """The model is not signed, or not by whom the operator trusts."""

    default_code = "bad_signature"


class EngineError(NanoedgeError):
    """The hardware backend can't do what was asked."""

    exit_code, default_code = 5, "engine_failed"


class WorkerError(EngineError):
    """The process that runs a model ended or hung, twice on one edit."""

    default_code = "worker_failed"


class MissingExtraError(NanoedgeError):
    """A library of an optional extra is not installed."""

    status, exit_code, default_code = 501, 6, "missing_extra"


class ConversionError(NanoedgeError):
    """The checkpoint can't be converted."""

    exit_code, default_code = 7, "conversion_failed"


class BusyError(NanoedgeError):
    """The node can't take another edit now; `retry_after_seconds` says when."""

    status, exit_code, default_code = 503, 8, "busy"
    retry_after_seconds: int | None = 1


class RestingError(BusyError):
    """A model crashed repeatedly and is left alone for a while."""

    default_code = "model_resting"


class RouteError(NanoedgeError):
    """No model here and no provider can do the request as it is asked."""

    status, exit_code, default_code = 422, 9, "no_route"


class RouteForbiddenError(RouteError):
    """A provider could do it, and the rule of whoever asks doesn't let it go there."""

    status, default_code = 403, "egress_forbidden"


class RouteSpentError(RouteError):
    """A provider could do it, and whoever asks has spent what may be spent."""

    status, default_code = 429, "spend_cap_reached"


class RouteCapacityError(RouteError):
    """A model or provider could do it, were there memory, or were the provider not failing."""

    status, default_code = 503, "no_capacity"


class RouteQueueError(RouteCapacityError):
    """A model could do it in time, were the queue shorter."""

    default_code = "queue_too_long"


class RouteDeadlineError(RouteError):
    """A model or provider could do it, were there more time."""

    status, default_code = 504, "deadline_too_short"


class ProviderError(NanoedgeError):
    """A remote provider failed, or answered what can't be used."""

    status, exit_code, default_code = 502, 10, "provider_failed"


class ProviderRequestError(ProviderError):
    """The provider answers, and doesn't accept the request."""

    default_code = "provider_rejected"


class ProviderKeyError(ProviderError):
    """The provider doesn't accept the key."""

    default_code = "provider_key"


class ModerationError(ProviderError):
    """The provider refuses the picture or the words."""

    status, default_code = 422, "moderated"


class ProviderBusyError(ProviderError):
    """The provider asks for patience, or is left alone after failures."""

    status, default_code = 503, "provider_busy"
    retry_after_seconds: int | None = 1


class ProviderTimeoutError(ProviderError):
    """No answer in the time that there was."""

    status, default_code = 504, "provider_timeout"


class ProviderLateError(ProviderTimeoutError):
    """The provider answers that it can't do the edit in the time that there is, as another nanoedge does."""

    default_code = "provider_late"


class UnsureError(ProviderError):
    """The provider was asked, and nobody knows whether it did the edit."""

    default_code = "provider_unsure"


class SourceError(NanoedgeError):
    """Where a model comes from, or goes to, can't be reached, refuses, or sent something else."""

    status, exit_code, default_code = 502, 13, "bad_source"


class StateError(NanoedgeError):
    """What the node keeps in its state folder can't be read or written."""

    exit_code, default_code = 12, "bad_state"


class AccessError(NanoedgeError):
    """There is no API key, or it is unknown, expired or revoked."""

    status, exit_code, default_code = 401, 11, "bad_key"


class ScopeError(AccessError):
    """The API key is not for what was asked."""

    status, default_code = 403, "scope_missing"


class FullError(StateError):
    """There is no room to keep it: the disk is full, or what may be kept is."""

    status, default_code = 507, "storage_full"


class NothingKeptError(StateError):
    """The node was started without a place to keep things."""

    status, default_code = 501, "nothing_kept"


class QuotaError(NanoedgeError):
    """Whoever asks keeps as much here as it may."""

    status, default_code = 429, "quota_exceeded"


class GoneError(NanoedgeError):
    """It was kept here, and has expired."""

    status, default_code = 410, "expired"


class UnknownError(NanoedgeError):
    """Nothing of this name is kept here, or it is somebody else's."""

    status, default_code = 404, "not_found"


class RepeatError(NanoedgeError):
    """The same request is being worked on; or what shall be stopped has ended."""

    status, default_code = 409, "running"


class ReusedKeyError(RepeatError):
    """An Idempotency-Key that came with another body before."""

    status, default_code = 422, "key_reused"


class AbandonedError(NanoedgeError):
    """The client went away. 499 reaches the log and the metrics, never the client."""

    status, default_code = 499, "client_closed_request"


def to_fields(error: NanoedgeError) -> dict[str, object]:
    """Return an error as JSON, for another process."""
    return {
        "class": type(error).__name__, "message": str(error), "code": error.code, "param": error.param,
        "retry_after_seconds": error.retry_after_seconds,
    }


def from_fields(fields: Mapping[str, object]) -> NanoedgeError:
    """Return the error that `to_fields` wrote; one of a class that isn't in the tree becomes an EngineError."""
    found = globals().get(str(fields["class"]))
    kind = found if isinstance(found, type) and issubclass(found, NanoedgeError) else EngineError
    param, seconds = fields.get("param"), fields.get("retry_after_seconds")
    error: NanoedgeError = kind(
        str(fields["message"]), code=str(fields["code"]), param=param if isinstance(param, str) else None
    )
    if isinstance(seconds, int):
        error.retry_after_seconds = seconds
    return error


def _shorten(value: object, limit: int = 120) -> str:
    text = value if isinstance(value, str) else str(value)
    if len(text) <= limit:
        return text
    half = limit // 2  # of a path the end says most
    return f"{text[:half]}...{text[-half:]} ({len(text)} characters)"
