"""Replicate's predictions: submit, ask at `urls.get`, fetch the output; `urls.cancel` takes a prediction back.

Every model there names its inputs itself, so the configuration does: the option `image` is the input of the photo (with
`[]` behind it: a list of all pictures), `mask` that of a mask, which is white where the edit belongs. Without `mask`
there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edge_runtime import outgoing
from edge_runtime.exchange import Exchange
from edge_runtime.images import Decode
from edge_runtime.provider import Accepts, ProviderSettings, RemotePicture
from edge_runtime.receipts import Receipt
from edge_runtime.request import MAX_REFERENCES, EditRequest

_FINISHED: Final = ("succeeded", "failed", "canceled", "aborted")
_MODERATED: Final = ("sensitive", "nsfw", "moderat", "safety", "e005")


class Replicate:
    """`base_url` is https://api.replicate.com/v1, `model` owner/name of an official model."""

    options: Mapping[str, tuple[str, ...]] = {"image": ("input_image",), "mask": ("",)}
    key_hosts: tuple[str, ...] = ()

    def headers(self, key: str) -> Mapping[str, str]:
        """Return the bearer token."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def accepts(self, settings: ProviderSettings) -> Accepts:
        """Return what it takes."""
        several = settings.options["image"].endswith("[]")
        return Accepts(
            pictures=1 + MAX_REFERENCES if several else 1, masks=bool(settings.options["mask"]),
            fields=frozenset({"seed"}),
        )

    def edit(self, request: EditRequest, settings: ProviderSettings, exchange: Exchange) -> RemotePicture:
        """Submit, poll, fetch; a prediction that nobody waits for is taken back."""
        url = settings.url(f"models/{settings.model}/predictions")
        state = exchange.submit(url, {"input": _input(request, settings, exchange.decode)})
        try:
            receipt = {name: str(state["urls"][name]) for name in ("get", "cancel")}
        except (LookupError, TypeError) as error:
            raise exchange.failed("an answer of another form than documented") from error
        exchange.taken(receipt)
        return self.resume(receipt, settings, exchange)

    def resume(self, receipt: Receipt, settings: ProviderSettings, exchange: Exchange) -> RemotePicture:
        """Poll, fetch; a prediction that nobody waits for is taken back."""
        state = exchange.polled(receipt["get"], _is_finished, lambda: exchange.tell(receipt["cancel"]))
        try:
            if state["status"] != "succeeded":
                raise _failure(state, exchange)
            output = state["output"]
            link = str(output if isinstance(output, str) else output[0])
        except (LookupError, TypeError) as error:
            raise exchange.failed("an answer of another form than documented") from error
        version = str(state.get("version") or "")
        return RemotePicture(data=exchange.picture(link), model=settings.model, version=version)


def _input(request: EditRequest, settings: ProviderSettings, decode: Decode) -> dict[str, Any]:
    photo, *others = outgoing.pictures(request, decode)
    name = settings.options["image"]
    image: Any = [one.data_url for one in (photo, *others)] if name.endswith("[]") else photo.data_url
    given: dict[str, Any] = {"prompt": request.instruction or "", name.removesuffix("[]"): image}
    if (mask := outgoing.white_mask(request, photo, decode)) is not None:
        given[settings.options["mask"]] = mask.data_url
    return given if request.seed is None else {**given, "seed": request.seed % 2**31}


def _is_finished(state: Any) -> bool:
    return not isinstance(state, dict) or state.get("status") in _FINISHED


def _failure(state: Any, exchange: Exchange) -> Exception:
    told = f"{state['status']}: {state.get('error') or 'no details'}"
    moderated = any(word in told.lower() for word in _MODERATED)
    return exchange.refused(told) if moderated else exchange.failed(told)


PROVIDER = Replicate()
