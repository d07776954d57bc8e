"""The service's side of routing: what it tells the router of its models, learned from what they did."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image
from skimage import data

from edge_runtime.errors import OptionError, ProviderError, RouteQueueError, UnknownModelError
from edge_runtime.local import Local
from edge_runtime.machine import Machine
from edge_runtime.provider import ProviderSettings
from edge_runtime.remote import Remote
from edge_runtime.request import AUTO, EditRequest, Fallback, Size
from edge_runtime.service import EditService, open_service
from edge_runtime.turns import NoQueue
from tests.providers.origin import Reply, started


@pytest.fixture(scope="module")
def photo() -> bytes:
    stream = BytesIO()
    Image.fromarray(data.coffee()).save(stream, "JPEG")
    return stream.getvalue()


def remote(name: str = "central", url: str = "http://127.0.0.1:9") -> Remote:
    return Remote(ProviderSettings(
        name=name, kind="openai-compatible", base_url=f"{url}/v1", model="Painter-9", family="umo",
        options={"mask": "white", "extensions": "yes"},
    ))  # fmt: skip


def test_times_and_memory_are_learned(photo: bytes) -> None:
    service = open_service()
    request = EditRequest(image=photo, instruction="warmer")
    before = service.route(request).offer
    assert before.seconds is None and 100e6 < before.memory_bytes < min(200e6, Machine.detect().memory_bytes)
    result = service.edit(request)
    assert result.route is not None and result.route.offer == before
    after = service.route(request).offer
    spent = sum(result.seconds.values())
    assert after.seconds is not None and spent <= after.seconds < spent + 0.5
    assert after.memory_bytes == 0, "it holds that now"
    first = after.seconds
    service.edit(request)
    assert service.route(request).offer.seconds != first, "what opening took is not in the times that follow"
    small = service.route(EditRequest(image=photo, instruction="warmer", size=Size(width=300, height=300))).offer
    assert small.seconds is not None and small.seconds <= after.seconds
    service.close()


def test_the_queue_is_looked_at_when_the_wish_is_understood(photo: bytes) -> None:
    """The small model scores wishes, and is busy with an edit: meanwhile the queue grows."""
    editor = open_service()._locals["nano-banana"].editor
    service, queue = EditService([editor], [remote()]), NoQueue()
    request = EditRequest(image=photo, instruction="warmer", model=AUTO, fallback=Fallback.ALLOW, deadline_seconds=9)
    assert service.edit(request).model == "nano-banana"
    unknown = replace(request, instruction="cooler")
    with ThreadPoolExecutor(1) as pool:
        with service._locals["nano-banana"].turn():
            asked = pool.submit(service.edit, unknown, queue)
            time.sleep(0.3)
            queue.wait_seconds = 100.0
        with pytest.raises(ProviderError, match="provider central.*can't be connected to"):
            asked.result(20)
    service.close()


def test_a_wish_that_is_known_waits_for_no_edit_before_it_goes_elsewhere(photo: bytes) -> None:
    editor = open_service()._locals["nano-banana"].editor
    service, queue = EditService([editor], [remote()]), NoQueue()
    request = EditRequest(image=photo, instruction="warmer", model=AUTO, fallback=Fallback.ALLOW, deadline_seconds=9)
    assert service.edit(request).model == "nano-banana"
    queue.wait_seconds = 100.0
    with ThreadPoolExecutor(1) as pool, service._locals["nano-banana"].turn():
        asked = pool.submit(service.edit, request, queue)
        with pytest.raises(ProviderError, match="provider central.*can't be connected to"):
            asked.result(5)
    service.close()


def test_who_is_refused_by_a_busy_central_is_told_when_the_queue_here_is_short_enough(photo: bytes) -> None:
    editor, queue = open_service()._locals["nano-banana"].editor, NoQueue()
    with started(lambda server, asked: Reply(503, {"error": {}}, {"Retry-After": "1"})) as origin:
        service = EditService([editor], [remote(url=origin.url)])
        request = EditRequest(image=photo, instruction="warmer", model=AUTO, fallback=Fallback.ALLOW)
        assert service.edit(request).model == "nano-banana"
        queue.wait_seconds = 100.0
        with pytest.raises(RouteQueueError) as told:
            service.edit(replace(request, deadline_seconds=9), queue)
    assert origin.submissions and 91 <= (told.value.retry_after_seconds or 0) <= 100, "not in the second that it said"
    service.close()


def test_plans_are_those_of_the_model_that_is_served_and_the_last_ones_only(
    photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_runtime.local.KEPT_PLANS", 2)
    first, second = (open_service()._locals["nano-banana"].editor for _ in range(2))
    local, asked = Local("nano-banana", first), []
    for name, editor in (("first", first), ("second", second)):
        plan = editor.plan
        monkeypatch.setattr(editor, "plan", lambda text, name=name, plan=plan: asked.append((name, text)) or plan(text))
    assert local.plan("warmer") == local.plan("warmer")
    local.plan("cooler"), local.plan("warmer"), local.plan("darker"), local.plan("warmer"), local.plan("cooler")
    assert asked == [("first", text) for text in ("warmer", "cooler", "darker", "cooler")]
    local.follow(second)
    local.plan("warmer")
    assert asked[-1] == ("second", "warmer")
    second.close()


def test_what_may_be_asked_for_depends_on_who_may_do_it(photo: bytes) -> None:
    editors = open_service()._locals["nano-banana"].editor
    service = EditService([editors], [remote()])
    assert service.abilities("nano-banana") is None and service.abilities("gpt-image-1") is None
    for name in (AUTO, "central", "Painter-9", "umo"):
        abilities = service.abilities(name)
        assert abilities is not None and abilities.mask and abilities.negative
    request = EditRequest(image=photo, instruction="x" * 1000, model=AUTO, fallback=Fallback.ALLOW)
    assert service.route(request).offer.name == "central", "too long for the small model, so it goes beyond it"
    assert service.preview(request) is None
    with pytest.raises(UnknownModelError, match="central, auto"):
        service.route(EditRequest(image=photo, instruction="warmer", model="dall-e"))
    service.close()


def test_a_mask_that_says_what_to_erase_keeps_it_here(photo: bytes) -> None:
    service = open_service()
    stream, area = BytesIO(), Image.new("L", (600, 400))
    area.paste(255, (200, 100, 230, 130))
    area.save(stream, "PNG")
    asked = EditRequest(image=photo, instruction="remove the spoon", model=AUTO, fallback=Fallback.ALLOW)
    plan = service.plan("remove the spoon")
    assert plan.beyond > 0.5 and [edit.adjust for edit in plan.edits] == ["inpaint"], "without a mask it is beyond"
    masked = EditRequest(
        image=photo, mask=stream.getvalue(), instruction="remove the spoon", model=AUTO, fallback=asked.fallback
    )
    assert service.route(masked).offer.name == "nano-banana"
    service.close()


def test_names_are_unique() -> None:
    service = open_service()
    with pytest.raises(OptionError, match="same name"):
        EditService([service._locals["nano-banana"].editor], [remote("nano-banana")])
    service.close()


def test_a_node_without_providers_brings_no_http_client() -> None:
    check = "import sys, edge_runtime.service as s, server.app; s.open_service(); sys.exit('urllib3' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
