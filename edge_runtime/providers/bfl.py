"""Black Forest Labs' API: FLUX.1 Kontext and FLUX.2. Submit, ask at the `polling_url` that is given, fetch the result.

The link to a result works for ten minutes, so it is fetched at once. There is no call that takes a job back: when
nobody waits any more, asking stops. Kontext takes no masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edge_runtime import outgoing
from edge_runtime.exchange import Exchange
from edge_runtime.images import Decode
from edge_runtime.provider import Accepts, ProviderSettings, RemotePicture
from edge_runtime.receipts import Receipt
from edge_runtime.request import EditRequest

_ADDRESS: Final = "polling_url"
_PICTURES: Final = ("input_image", "input_image_2", "input_image_3", "input_image_4")
_MODERATED: Final = ("Request Moderated", "Content Moderated")
_FAILED: Final = ("Error", "Failed", "Task not found")


class BlackForestLabs:
    """`base_url` is https://api.bfl.ai/v1, `model` the path of an endpoint such as flux-kontext-pro."""

    options: Mapping[str, tuple[str, ...]] = {"safety_tolerance": ("2", *"013456")}
    key_hosts: tuple[str, ...] = (".bfl.ai",)
    """Polling addresses lie in the region that took the job."""

    def headers(self, key: str) -> Mapping[str, str]:
        """Return the key's header."""
        return {"x-key": key} if key else {}

    def accepts(self, settings: ProviderSettings) -> Accepts:
        """Return what it takes."""
        return Accepts(pictures=len(_PICTURES), fields=frozenset({"seed"}))

    def edit(self, request: EditRequest, settings: ProviderSettings, exchange: Exchange) -> RemotePicture:
        """Submit, poll, fetch."""
        submitted = exchange.submit(settings.url(settings.model), _body(request, settings, exchange.decode))
        try:
            address = str(submitted["polling_url"])
        except (LookupError, TypeError) as error:
            raise exchange.failed("an answer without a polling_url") from error
        receipt = {_ADDRESS: address}
        exchange.taken(receipt)
        return self.resume(receipt, settings, exchange)

    def resume(self, receipt: Receipt, settings: ProviderSettings, exchange: Exchange) -> RemotePicture:
        """Poll, fetch."""
        state = exchange.polled(receipt[_ADDRESS], _is_finished)
        status = _status(state)
        if status in _MODERATED:
            raise exchange.refused(status)
        if status != "Ready":
            raise exchange.failed(f"{status}: {state.get('details') or state.get('error') or 'no details'}")
        try:
            link = str(state["result"]["sample"])
        except (LookupError, TypeError) as error:
            raise exchange.failed("a result without a link") from error
        return RemotePicture(data=exchange.picture(link), model=settings.model)


def _body(request: EditRequest, settings: ProviderSettings, decode: Decode) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": request.instruction or "", "output_format": "png",
        "safety_tolerance": int(settings.options["safety_tolerance"]),
        **{name: one.base64 for name, one in zip(_PICTURES, outgoing.pictures(request, decode), strict=False)},
    }
    return body if request.seed is None else {**body, "seed": request.seed}


def _is_finished(state: Any) -> bool:
    return _status(state) in ("Ready", *_MODERATED, *_FAILED)


def _status(state: Any) -> str:
    return str(state.get("status", "")) if isinstance(state, dict) else "Error"


PROVIDER = BlackForestLabs()
