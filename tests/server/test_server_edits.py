"""The two ways to ask for an edit, in process, over a small editor."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

WARM = {"edits": [{"adjust": "warmth", "amount": 0.4, "region": "all"}], "beyond": 0.04}


def part(data: bytes, name: str = "photo.jpg") -> tuple[BytesIO, str]:
    return BytesIO(data), name


def openai_edit(client: FlaskClient, **form: Any) -> TestResponse:
    return client.post("/v1/images/edits", data=form, content_type="multipart/form-data")


def opened(encoded: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(encoded)))


def test_json_edit(client: FlaskClient, photo: bytes) -> None:
    body = {"image_base64": base64.b64encode(photo).decode(), "instructions": "warmer", "size": "300"}
    answer = client.post("/edit", json=body).get_json()
    assert answer["plan"] == WARM
    assert (answer["width"], answer["height"], answer["media_type"]) == (300, 200, "image/jpeg")
    assert opened(answer["image_base64"]).size == (300, 200)
    assert answer["model"] == "nano-banana" and answer["warnings"] == [] and answer["seconds"]


@pytest.mark.parametrize("size", [300, "300", "300x300"])
def test_sizes_are_a_box(client: FlaskClient, photo: bytes, size: object) -> None:
    body = {"image_base64": base64.b64encode(photo).decode(), "instructions": "warmer", "size": size}
    assert client.post("/edit", json=body).get_json()["height"] == 200


def test_multipart_edit_with_a_plan(client: FlaskClient, photo: bytes) -> None:
    data = {"image": part(photo), "plan": json.dumps(WARM), "output_format": "webp", "quality": "50"}
    answer = client.post("/edit", data=data).get_json()
    assert answer["plan"]["edits"] == WARM["edits"] and answer["media_type"] == "image/webp"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("image/avif,image/webp,*/*;q=0.8", "image/webp"),
        ("*/*", "application/json"),
        ("application/json, image/*;q=0.5", "application/json"),
    ],
)
def test_the_image_itself_when_it_is_wanted(client: FlaskClient, photo: bytes, accept: str, media_type: str) -> None:
    data = {"image": part(photo), "instructions": "warmer", "colour": "x"}
    response = client.post("/edit", data=data, headers={"Accept": accept})
    assert response.mimetype == media_type
    if media_type != "application/json":
        assert Image.open(BytesIO(response.data)).size == (600, 400)
        assert json.loads(response.headers["X-Plan"]) == WARM
        assert json.loads(response.headers["X-Warnings"]) == ["unknown field ignored: colour"]


def test_a_data_url_is_an_image_url(client: FlaskClient, photo: bytes) -> None:
    url = "data:image/jpeg;base64," + base64.b64encode(photo).decode()
    assert client.post("/edit", json={"image_url": url, "instructions": "warmer"}).status_code == 200


def test_openai_edit(client: FlaskClient, photo: bytes) -> None:
    answer = openai_edit(
        client, image=part(photo), prompt="warmer", size="auto", output_format="png", n="1", user="me",
        background="transparent", seed="7",
    ).get_json()
    assert opened(answer["data"][0]["b64_json"]).format == "PNG"
    assert (answer["size"], answer["output_format"], answer["plan"]) == ("600x400", "png", WARM)
    assert answer["warnings"] == ["background has no effect here", "unknown field ignored: seed"]
    usage = answer["usage"]
    assert usage["input_tokens_details"]["text_tokens"] == len("warmer")
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


def test_openai_edit_with_a_plan_and_one_image_in_a_list(client: FlaskClient, photo: bytes) -> None:
    answer = openai_edit(client, **{"image[]": part(photo), "prompt": "", "plan": json.dumps(WARM)})
    assert answer.get_json()["plan"] == WARM


@pytest.mark.parametrize(
    ("extra", "param", "words"),
    [
        ({"n": "2"}, "n", "only one result"),
        ({"n": "many"}, "n", "whole number"),
        ({"stream": "maybe"}, "stream", "true or false"),
        ({"stream": "true", "partial_images": "4"}, "partial_images", "0 to 3"),
        ({"response_format": "pixels"}, "response_format", "b64_json, url"),
        ({"size": "huge"}, "size", "1024x768"),
        ({"output_format": "tiff"}, "output_format", "jpeg, png, webp, avif"),
        ({"output_compression": "101"}, "output_compression", "0 to 100"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": "warmer " * 1500}, "prompt", "500"),
        ({"prompt": ["warmer", "cooler"]}, "prompt", "must be text"),
        ({"plan": "{"}, "plan", "not JSON"),
        ({"plan": "[]"}, "plan", "must be an object"),
        ({"url": "http://127.0.0.1/a.jpg"}, "image", "one photo"),
    ],
)
def test_what_openai_can_ask_for_and_we_refuse(
    client: FlaskClient, photo: bytes, extra: dict[str, object], param: str, words: str
) -> None:
    prompt = {} if "plan" in extra else {"prompt": "warmer"}
    response = openai_edit(client, **{"image": part(photo), **prompt, **extra})
    assert response.status_code == 400, response.text
    error = response.get_json()["error"]
    assert error["param"] == param and words.lower() in error["message"].lower()


def test_a_second_image_and_a_second_mask_are_refused(client: FlaskClient, photo: bytes) -> None:
    several = openai_edit(client, **{"image[]": [part(photo), part(photo)], "prompt": "warmer"}).get_json()
    assert several["error"]["code"] == "too_many_images"
    masks = openai_edit(client, image=part(photo), mask=[part(photo), part(photo)], prompt="warmer").get_json()
    assert masks["error"]["param"] == "mask"
    words = openai_edit(client, image=part(photo), mask="the sky", prompt="warmer").get_json()
    assert words["error"]["param"] == "mask"
    body = {"image_base64": base64.b64encode(photo).decode(), "instructions": "warmer", "mask_base64": "?"}
    assert client.post("/edit", json=body).get_json()["error"]["param"] == "mask_base64"


def test_an_unknown_model_is_not_found(client: FlaskClient, photo: bytes) -> None:
    response = openai_edit(client, image=part(photo), prompt="warmer", model="gpt-image-1")
    assert response.status_code == 404 and response.get_json()["error"]["param"] == "model"
    assert client.get("/v1/models/gpt-image-1").status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"instructions": "warmer"}, "image"),
        ({"image_base64": "", "instructions": "warmer"}, "image_base64"),
        ({"image_base64": "####", "instructions": "warmer"}, "image_base64"),
        ({"image_base64": "AAAA", "image_url": "http://example.com/", "instructions": "warmer"}, "image"),
        ({"image_base64": "AAAA"}, "instructions"),
        ({"image_base64": "AAAA", "instructions": 5}, "instructions"),
        ({"image_base64": "AAAA", "instructions": "warmer", "quality": 1.5}, "quality"),
        ({"image_base64": "AAAA", "instructions": "warmer", "plan": WARM}, "prompt"),
        ([], None),
    ],
)
def test_bad_json_requests(client: FlaskClient, body: object, param: str | None) -> None:
    response = client.post("/edit", json=body)
    assert response.status_code == 400, response.text
    assert response.get_json()["error"]["param"] == param


def test_plans(client: FlaskClient) -> None:
    assert client.post("/v1/plans", json={"prompt": "warmer"}).get_json() == WARM
    assert client.post("/v1/plans", json={"prompt": "a hat"}).get_json()["beyond"] > 0.5
    for prompt in ("", "x" * 10_000, None):
        response = client.post("/v1/plans", json={"prompt": prompt})
        assert response.status_code == 400 and response.get_json()["error"]["param"] == "prompt"


def test_models_say_what_plans_are_made_of(client: FlaskClient) -> None:
    listed = client.get("/v1/models").get_json()
    assert listed["object"] == "list" and listed["data"][0]["id"] == "nano-banana" and listed["data"][0]["x_ready"]
    vocabulary = client.get("/v1/models/nano-banana").get_json()["vocabulary"]
    warmth = next(entry for entry in vocabulary["adjustments"] if entry["name"] == "warmth")
    assert (warmth["low"], warmth["high"], warmth["regions"][0]) == (-1.0, 1.0, "all")
    assert warmth["label"]["de"] == "Wärme" and warmth["unit"]
    assert vocabulary["colors"]["white"] == "#ffffff"


@pytest.mark.parametrize("path", ["/edit", "/v1/images/edits"])
def test_a_part_without_a_readable_name_is_ignored(client: FlaskClient, photo: bytes, path: str) -> None:
    parts = [
        (b'name="\\"', b"x"), (b'name="\\"; filename="x"', b"x"), (b'name="image"; filename="p.jpg"', photo),
        (b'name="instructions"', b"warmer"), (b'name="prompt"', b"warmer"),
    ]
    body = b"".join(b"--x\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % part for part in parts) + b"--x--\r\n"
    answer = client.post(
        path, data=body, content_type="multipart/form-data; boundary=x", headers={"Idempotency-Key": "k"}
    )
    assert answer.status_code == 200, answer.text
    assert "unknown field ignored: " in answer.get_json()["warnings"]


@pytest.mark.parametrize(
    ("name", "value"), [("guidance_scale", "much"), ("seed", "0.5"), ("steps", "x"), ("reference", "text")]
)
def test_what_only_other_models_use_is_checked_too(client: FlaskClient, photo: bytes, name: str, value: str) -> None:
    form = {"image": (BytesIO(photo), "p.jpg"), "instructions": "warmer", name: value}
    assert client.post("/edit", data=form).status_code == 400
