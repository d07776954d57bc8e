"""Providers that take an edit and deliver later: what is recorded, when, and going on from a receipt."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edge_runtime.errors import (
    ModerationError,
    NanoedgeError,
    ProviderBusyError,
    ProviderError,
    ProviderRequestError,
    UnsureError,
)
from edge_runtime.receipts import Receipt
from edge_runtime.request import EditRequest
from edge_runtime.service import EditService
from tests.providers.conftest import Placed
from tests.providers.origin import LOST, Origin, Reply
from tests.providers.protocols import MODERATED, PROTOCOLS

LATER = ("bfl", "replicate")
Place = Callable[..., Placed]
Asking = Callable[..., EditRequest]


class Notes:
    """A record in memory that writes down what it was told; with `stop`, it stops the process after a receipt."""

    key = "job-1"

    def __init__(self, stop: bool = False) -> None:
        self.held, self.told, self._stop = False, [], stop
        self.receipt: Receipt = {}

    told: list[str]

    def asking(self, provider: str) -> None:
        self.told.append(f"asking {provider}")

    def taken(self, receipt: Receipt) -> None:
        self.told.append("taken")
        self.held, self.receipt = True, receipt
        if self._stop:
            raise NanoedgeError("the process ends here")

    def released(self) -> None:
        self.told.append("released")
        self.held = False


def looks(origin: Origin) -> list[str]:
    return [one.method for one in origin.asked]


@pytest.mark.parametrize("name", LATER)
def test_it_goes_on_from_a_receipt_without_asking_again(placed: Place, asking: Asking, name: str) -> None:
    origin, remote = placed(name)
    notes = Notes(stop=True)
    with pytest.raises(NanoedgeError, match="ends here"):
        remote.edit(asking(), record=notes)
    assert looks(origin) == ["POST"], "the receipt is kept before it is waited for"
    assert origin.asked[0].headers["idempotency-key"] == "job-1"
    assert notes.told == ["asking central", "taken"] and all(isinstance(one, str) for one in notes.receipt.values())
    service = EditService([], [remote])
    result = service.resumed("central", notes.receipt, asking(), lambda: False, Notes())
    assert len(origin.submissions) == 1 and result.cost_usd == 0.04
    assert result.route is not None and result.route.to_json()["name"] == "central"
    with Image.open(BytesIO(result.image)) as picture:
        assert picture.size == (300, 200) and np.asarray(picture.convert("RGB")).std() > 20


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_what_a_provider_refuses_is_released(placed: Place, asking: Asking, name: str) -> None:
    _, remote = placed(name)
    notes = Notes()
    with pytest.raises(ModerationError):
        remote.edit(asking(instruction=MODERATED), record=notes)
    taken = ["taken"] if name in LATER else []
    assert notes.told == ["asking central", *taken, "released"]


@pytest.mark.parametrize("name", LATER)
def test_one_that_has_the_edit_and_cannot_be_reached_keeps_it(placed: Place, asking: Asking, name: str) -> None:
    origin, remote = placed(name)

    class ThenGone(Notes):
        def taken(self, receipt: Receipt) -> None:
            super().taken(receipt)
            origin.protocol = lambda server, asked: Reply(503)

    notes = ThenGone()
    service = EditService([], [remote])
    with pytest.raises(ProviderError):
        service.edit(asking(model="central", fallback="only"), record=notes)
    assert notes.held and notes.told == ["asking central", "taken"]
    origin.protocol = PROTOCOLS[name].answer
    assert remote.resume(notes.receipt, asking(), record=notes).image


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_a_lost_answer_leaves_the_record_unsure(placed: Place, asking: Asking, name: str) -> None:
    origin, remote = placed(name)
    origin.script.append(LOST)
    notes = Notes()
    with pytest.raises(ProviderError):
        remote.edit(asking(), record=notes)
    assert notes.told == ["asking central"]
    with pytest.raises(UnsureError, match="may have been done and paid for"):
        EditService([], [remote]).resumed("central", None, asking(), lambda: False, notes)
    assert len(origin.submissions) == 1


def test_a_central_that_knows_repetitions_may_be_asked_again(placed: Place, asking: Asking) -> None:
    origin, remote = placed("openai", options={"idempotency": "yes"})
    service, notes = EditService([], [remote]), Notes()
    service.edit(asking(model="central", fallback="only"), record=notes)
    service.resumed("central", None, asking(), lambda: False, notes)
    assert [one.headers["idempotency-key"] for one in origin.submissions] == ["job-1", "job-1"]


def test_a_provider_that_is_no_longer_configured(asking: Asking) -> None:
    with pytest.raises(UnsureError):
        EditService([]).resumed("central", {"polling_url": "https://x"}, asking(), lambda: False, Notes())


def test_a_central_that_still_works_on_the_same_request_is_waited_for(placed: Place, asking: Asking) -> None:
    origin, remote = placed("openai")
    running = Reply(409, {"error": {"message": "the same request is being worked on"}}, {"Retry-After": "0"})
    origin.script.extend([running, running])
    assert remote.edit(asking()).image and len(origin.submissions) == 3
    origin.script.extend([running] * 4)
    with pytest.raises(ProviderBusyError):
        remote.edit(asking())
    origin.script.append(Reply(409, {"error": {"message": "another kind of conflict"}}))
    with pytest.raises(ProviderRequestError):
        remote.edit(asking())
