"""Every provider against a server that speaks its protocol, well and badly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edge_runtime import wire
from edge_runtime.breaker import BreakerState
from edge_runtime.errors import (
    AbandonedError,
    ModerationError,
    NanoedgeError,
    ProviderBusyError,
    ProviderError,
    ProviderKeyError,
    ProviderLateError,
    ProviderRequestError,
    ProviderTimeoutError,
)
from edge_runtime.remote import Remote
from edge_runtime.request import EditRequest
from tests.providers.conftest import Placed
from tests.providers.origin import HANG, LOST, STORM, Origin, Reply
from tests.providers.protocols import KEY, MODERATED, PROTOCOLS, form_of, from_data_url

Place = Callable[..., Placed]
Ask = Callable[..., EditRequest]

every_protocol = pytest.mark.parametrize("name", PROTOCOLS)
by_link = pytest.mark.parametrize("name", ["bfl", "dashscope", "replicate"])


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"), int)


def fails(remote: Remote, request: EditRequest, kind: type[NanoedgeError]) -> NanoedgeError:
    with pytest.raises(kind) as caught:
        remote.edit(request)
    assert KEY not in str(caught.value) and type(caught.value) is kind
    return caught.value


@every_protocol
def test_an_edit_makes_the_journey(placed: Place, asking: Ask, small_photo: bytes, name: str) -> None:
    server, remote = placed(name)
    result = remote.edit(asking(seed=7))
    assert (result.width, result.height, result.media_type) == (300, 200, "image/png")
    assert np.abs(opened(result.image) - (255 - opened(small_photo))).mean() < 3, "the picture that was sent, inverted"
    assert result.model == PROTOCOLS[name].model and result.cost_usd == remote.tally.cost_usd == 0.04
    assert result.sent_bytes == remote.tally.sent_bytes == sum(len(one.body) for one in server.submissions) > 1000
    assert not [warning for warning in result.warnings if "seed" in warning]
    assert len(server.submissions) == 1 and "seed" in server.submissions[0].body.decode("latin-1")


@every_protocol
def test_impatience_is_answered_with_patience(placed: Place, asking: Ask, name: str) -> None:
    server, remote = placed(name)
    server.script.append(Reply(429, {"detail": "slow down"}, {"Retry-After": "1"}))
    began = time.monotonic()
    assert remote.edit(asking()).width == 300
    assert time.monotonic() - began > 1.0
    first, second = server.submissions
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert remote.offer().breaker is BreakerState.CLOSED


def test_a_date_says_when_to_try_again_too(placed: Place, asking: Ask) -> None:
    server, remote = placed("gemini")
    server.script.append(Reply(503, b"", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}))
    assert remote.edit(asking()).width == 300


@every_protocol
def test_nobody_waits_beyond_the_deadline(placed: Place, asking: Ask, name: str) -> None:
    server, remote = placed(name)
    server.script.append(Reply(429, {"detail": "slow down"}, {"Retry-After": "60"}))
    began = time.monotonic()
    error = fails(remote, asking(deadline_seconds=5.0), ProviderBusyError)
    assert time.monotonic() - began < 1 and error.retry_after_seconds == 60
    assert remote.offer().breaker is BreakerState.CLOSED, "to be told to wait is no failure"


@every_protocol
def test_a_storm_of_errors_opens_the_breaker(placed: Place, asking: Ask, name: str) -> None:
    server, remote = placed(name)
    server.script.extend([STORM] * 99)
    impatient = asking(deadline_seconds=0.2)
    for _ in range(3):
        assert "500" in str(fails(remote, impatient, ProviderError))
    assert remote.offer().breaker is BreakerState.OPEN and 4 < remote.offer().retry_seconds <= 5
    before = len(server.asked)
    assert fails(remote, asking(), ProviderBusyError).retry_after_seconds == 5
    assert len(server.asked) == before, "left alone"
    assert remote.tally.errors == {"provider_failed": 3, "provider_busy": 1}


def test_a_short_storm_passes(placed: Place, asking: Ask) -> None:
    server, remote = placed("openai")
    server.script.extend([STORM, Reply(502), Reply(503)])
    assert remote.edit(asking()).width == 300 and len(server.submissions) == 4
    assert len({one.headers["idempotency-key"] for one in server.submissions}) == 1


@every_protocol
def test_a_server_that_hangs_is_left_at_the_deadline(placed: Place, asking: Ask, name: str) -> None:
    server, remote = placed(name)
    server.script.append(HANG)
    began = time.monotonic()
    fails(remote, asking(deadline_seconds=0.5), ProviderTimeoutError)
    assert time.monotonic() - began < 1.2 and server.left.wait(2), "the connection was closed"
    assert len(server.submissions) == 1


@every_protocol
@pytest.mark.parametrize("reply", [LOST, Reply(504), Reply(body={"id": "x"}, cut=True)], ids=["lost", "504", "half"])
def test_what_may_have_been_taken_is_not_submitted_twice(placed: Place, asking: Ask, name: str, reply: Reply) -> None:
    server, remote = placed(name)
    server.script.append(reply)
    fails(remote, asking(), ProviderError)
    assert len(server.submissions) == 1


def test_a_central_that_says_it_is_too_late_is_well(placed: Place, asking: Ask) -> None:
    """Its queue is too long for the deadline: that is no failure, and asking twice makes it no shorter."""
    server, remote = placed("openai", seconds=0.1, options={"mask": "transparent", "extensions": "yes",
                                                            "idempotency": "yes"})  # fmt: skip
    late = {"detail": "Its turn came too late.", "error": {"code": "deadline_too_short", "message": "too late"}}
    server.script.extend([Reply(504, late)] * 5)
    for _ in range(5):
        assert "in time" in str(fails(remote, asking(deadline_seconds=5.0), ProviderLateError))
    assert remote.offer().breaker is BreakerState.CLOSED and len(server.submissions) == 5
    assert remote.edit(asking(deadline_seconds=5.0)).width == 300
    given = int(form_of(server.submissions[-1])[0]["deadline_ms"][0])
    assert 3500 < given < 4500, "it has less time than this node"


def test_a_server_that_is_not_there(placed: Place, asking: Ask) -> None:
    server, remote = placed("openai")
    gone = Remote(replace(remote.settings, base_url="http://127.0.0.1:9/v1"))
    assert "can't be connected to" in str(fails(gone, asking(deadline_seconds=2.0), ProviderError))


def test_an_answer_may_take_longer_than_connecting(
    placed: Place, asking: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_CONNECT_SECONDS", 0.3)
    server, remote = placed("openai")
    whole = server.protocol
    server.protocol = lambda origin, asked: replace(whole(origin, asked), seconds=0.8)
    assert remote.edit(asking()).width == 300 and len(server.submissions) == 1


def test_a_caller_in_a_hurry_says_nothing_about_the_provider(placed: Place, asking: Ask) -> None:
    server, remote = placed("openai", seconds=2.0)
    server.script.extend([HANG] * 3)
    for _ in range(3):
        fails(remote, asking(deadline_seconds=0.2), ProviderTimeoutError)
    assert remote.offer().breaker is BreakerState.CLOSED


@every_protocol
def test_a_refusal_of_content_is_told_as_one(placed: Place, asking: Ask, name: str) -> None:
    server, remote = placed(name)
    for _ in range(3):
        assert fails(remote, asking(instruction=MODERATED), ModerationError).status == 422
    assert remote.offer().breaker is BreakerState.CLOSED and len(server.submissions) == 3


@every_protocol
def test_a_refused_key_is_not_tried_again_and_never_printed(placed: Place, asking: Ask, name: str) -> None:
    server, remote = placed(name)
    wrong = Remote(replace(remote.settings, key="sk-wrong-0815"))
    error = fails(wrong, asking(), ProviderKeyError)
    assert "sk-wrong" not in f"{error} {error!r} {wrong.settings!r}" and len(server.submissions) == 1
    assert wrong.offer().breaker is BreakerState.FORBIDDEN
    fails(wrong, asking(), ProviderBusyError)
    assert len(server.submissions) == 1


def test_a_key_that_the_provider_repeats_is_not_passed_on(placed: Place, asking: Ask) -> None:
    server, remote = placed("openai")
    server.script.append(Reply(400, {"error": {"message": f"you sent {KEY}"}}))
    assert "you sent ***" in str(fails(remote, asking(), ProviderRequestError))


@pytest.mark.parametrize("name", ["openai", "gemini"])
@pytest.mark.parametrize("damage", ["cut", "letters"])
def test_damaged_base64(placed: Place, asking: Ask, name: str, damage: str) -> None:
    server, remote = placed(name)
    encoded = "iVBORw0KGgoAAAANSUhEU" if damage == "cut" else "iVBO*!=="
    parts = [{"inlineData": {"mimeType": "image/png", "data": encoded}}]
    server.script.append(Reply(body={"data": [{"b64_json": encoded}], "candidates": [{"content": {"parts": parts}}]}))
    assert "base64" in str(fails(remote, asking(), ProviderError))


@pytest.mark.parametrize("body", [b"<html>", [], {}, {"data": []}, {"data": [{"b64_json": "aGVsbG8="}]}, 7, "text"])
@every_protocol
def test_answers_that_are_no_answers(placed: Place, asking: Ask, name: str, body: object) -> None:
    server, remote = placed(name)
    server.script.append(Reply(body=body))
    fails(remote, asking(deadline_seconds=5.0), ProviderError)


@by_link
@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_link_that_expired(placed: Place, asking: Ask, name: str, status: int) -> None:
    server, remote = placed(name)
    whole = server.protocol
    server.protocol = lambda origin, asked: (
        Reply(status, b"expired") if asked.path.startswith(("/delivery", "/result", "/files")) else whole(origin, asked)
    )
    error = fails(remote, asking(), ProviderError)
    assert error.code == "result_lost" and len(server.submissions) == 1


@by_link
def test_a_result_that_is_cut_off_is_fetched_again(placed: Place, asking: Ask, name: str) -> None:
    server, remote = placed(name)
    whole, cut = server.protocol, []

    def once_cut(origin: Origin, asked: object) -> Reply:
        reply = whole(origin, asked)
        if asked.path.startswith(("/delivery", "/result", "/files")) and not cut:
            cut.append(asked)
            return replace(reply, cut=True)
        return reply

    server.protocol = once_cut
    assert remote.edit(asking()).width == 300 and cut and len(server.submissions) == 1


@by_link
@pytest.mark.parametrize("link", ["http://127.0.0.1:1/x.png", "http://169.254.169.254/meta", "file:///etc/passwd"])
def test_a_link_into_the_network_is_not_followed(placed: Place, asking: Ask, name: str, link: str) -> None:
    server, remote = placed(name)
    whole = server.protocol

    def leads_in(origin: Origin, asked: object) -> Reply:
        reply = whole(origin, asked)
        text = str(reply.body).replace("'", '"').replace("None", "null")
        places = ("delivery/job0", "result/a.png?Expires=1", "files/out.png")
        for place in places:
            text = text.replace(f"{origin.url}/{place}", link)
        return replace(reply, body=text.encode()) if not isinstance(reply.body, bytes) else reply

    server.protocol = leads_in
    assert fails(remote, asking(), ProviderError).code == "result_lost"


def test_the_key_goes_to_the_providers_own_hosts_only(placed: Place, asking: Ask) -> None:
    server, remote = placed("bfl")
    other, _ = placed("bfl")
    server.script.append(Reply(body={"id": "x", "polling_url": f"{other.url}/v1/get_result?id=x"}))
    assert "gets no key" in str(fails(remote, asking(), ProviderError))
    assert not other.asked


def test_a_prediction_that_nobody_waits_for_is_taken_back(placed: Place, asking: Ask) -> None:
    server, remote = placed("replicate")
    left = threading.Event()
    threading.Timer(0.8, left.set).start()
    with pytest.raises(AbandonedError):
        remote.edit(asking(instruction="never ends"), left.is_set)
    assert [one.path for one in server.asked][-1] == "/v1/predictions/p/cancel"
    assert remote.offer().breaker is BreakerState.CLOSED
    fails(remote, asking(instruction="never ends", deadline_seconds=0.7), ProviderTimeoutError)
    assert len([one for one in server.asked if one.path.endswith("/cancel")]) == 2


def test_whoever_leaves_takes_the_connection_along(placed: Place, asking: Ask) -> None:
    server, remote = placed("openai")
    server.script.append(HANG)
    left = threading.Event()
    threading.Timer(0.3, left.set).start()
    began = time.monotonic()
    with pytest.raises(AbandonedError):
        remote.edit(asking(), left.is_set)
    assert time.monotonic() - began < 1 and server.left.wait(2)


def mask() -> bytes:
    """White where the edit belongs: the left third."""
    stream = BytesIO()
    picture = Image.new("L", (300, 200))
    picture.paste(255, (0, 0, 100, 200))
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("convention", ["transparent", "white"])
def test_masks_of_openai_and_of_others(placed: Place, asking: Ask, convention: str) -> None:
    server, remote = placed("openai", options={"mask": convention})
    remote.edit(asking(mask=mask()))
    _, files = form_of(server.submissions[0])
    sent = Image.open(BytesIO(files["mask"][0]))
    assert sent.size == (300, 200)
    if convention == "white":
        assert files["mask_image"] == files["mask"]
        assert sent.convert("L").getpixel((50, 100)) == 255 and sent.convert("L").getpixel((200, 100)) == 0
    else:
        assert sent.getpixel((50, 100))[3] == 0 and sent.getpixel((200, 100))[3] == 255


def test_masks_of_replicate(placed: Place, asking: Ask) -> None:
    server, remote = placed("replicate")
    remote.edit(asking(mask=mask()))
    sent = Image.open(BytesIO(from_data_url(server.submissions[0].json["input"]["mask"]))).convert("L")
    assert sent.getpixel((50, 100)) == 255 and sent.getpixel((200, 100)) == 0


@pytest.mark.parametrize("name", ["bfl", "dashscope", "gemini"])
def test_providers_without_masks_offer_none(placed: Place, name: str) -> None:
    assert not placed(name)[1].offer().masks


def test_several_pictures_sizes_and_extensions(placed: Place, asking: Ask, small_photo: bytes) -> None:
    from edge_runtime.request import Size

    server, remote = placed("openai")
    result = remote.edit(
        asking(references=(small_photo,), size=Size(width=150, height=150), steps=4, seed=3, guidance={"": 2.5},
               negative="blur")
    )  # fmt: skip
    form, files = form_of(server.submissions[0])
    assert (result.width, result.height) == (150, 100) and len(files["image[]"]) == 2
    assert form["size"] == ["150x100"] and form["num_inference_steps"] == ["4"] and form["seed"] == ["3"]
    assert form["guidance_scale"] == form["true_cfg_scale"] == ["2.5"] and form["negative_prompt"] == ["blur"]
    server, remote = placed("openai", options={"extensions": "no"})
    result = remote.edit(asking(steps=4))
    assert "num_inference_steps" not in form_of(server.submissions[0])[0]
    assert result.warnings == ("steps has no effect at the provider central",)


def test_a_photo_that_can_not_be_read_is_not_sent(placed: Place, asking: Ask) -> None:
    server, remote = placed("openai")
    with pytest.raises(NanoedgeError) as caught:
        remote.edit(asking(image=b"no photo"))
    assert caught.value.status == 415 and not server.asked and remote.tally.sent_bytes == 0
