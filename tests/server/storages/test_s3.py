"""Results in a bucket of a real S3 server (moto's, as a process): encryption, links, what is wrong with a place."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3

from edge_runtime.errors import OptionError, StateError, UnknownError
from server.results import Results
from tests.server.started import started_server

HTTP = urllib3.PoolManager(retries=False, timeout=20)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A running S3 server with an empty bucket called pictures."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                HTTP.request("GET", f"{url}/moto-api/")
                break
            except urllib3.exceptions.HTTPError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="pictures")
    yield client
    for entry in client.list_objects_v2(Bucket="pictures").get("Contents", ()):
        client.delete_object(Bucket="pictures", Key=entry["Key"])
    client.delete_bucket(Bucket="pictures")
    client.close()


@pytest.fixture
def kept(endpoint: str, tmp_path: Path) -> Callable[..., Results]:
    def make(options: str = "", prefix: str = "/edits") -> Results:
        return Results(f"s3://pictures{prefix}?endpoint={endpoint}&region=us-east-1{options}", tmp_path, 60)

    return make


def objects(bucket: Any) -> dict[str, Any]:
    found = bucket.list_objects_v2(Bucket="pictures").get("Contents", ())
    return {entry["Key"]: bucket.head_object(Bucket="pictures", Key=entry["Key"]) for entry in found}


def test_a_picture_comes_back_encrypted_by_the_bucket(bucket: Any, kept: Callable[..., Results]) -> None:
    results = kept()
    address = results.put("anna", b"picture", "image/webp")
    assert results.put("anna", b"picture", "image/webp") == address and results.get("anna", address) == b"picture"
    ((key, head),) = objects(bucket).items()
    assert key.startswith("edits/") and key.endswith(address.removeprefix("sha256:"))
    assert head["ServerSideEncryption"] == "AES256" and head["ContentType"] == "image/webp"
    assert kept().get("anna", address) == b"picture", "another node goes on from it"
    with pytest.raises(UnknownError):
        results.get("berta", address)


def test_kms(bucket: Any, kept: Callable[..., Results]) -> None:
    kept("&sse=aws:kms&kms_key=alias/pictures", prefix="").put("anna", b"picture", "image/png")
    ((key, head),) = objects(bucket).items()
    assert head["ServerSideEncryption"] == "aws:kms" and "alias/pictures" in head["SSEKMSKeyId"] and key[0] != "/"


def test_links_are_presigned_or_lie_below_the_delivery_network(bucket: Any, kept: Callable[..., Results]) -> None:
    results = kept()
    address = results.put("anna", b"picture", "image/png")
    link = results.link("anna", address, "http://here/")
    assert "X-Amz-Signature=" in link and "X-Amz-Expires=3600" in link
    fetched = HTTP.request("GET", link)
    assert fetched.data == b"picture" and fetched.headers["Content-Type"] == "image/png"
    below = kept("&cdn=https://cdn.example.com/p/").link("anna", address, "http://here/")
    assert below.startswith("https://cdn.example.com/p/edits/") and below.endswith(address[7:])


def test_a_server_stores_there_and_goes_on_from_there(bucket: Any, endpoint: str, photo: bytes) -> None:
    place = f"s3://pictures/node?endpoint={endpoint}&region=us-east-1"
    with started_server("--store", place) as first:
        form = {"image": ("p.jpg", photo), "prompt": "warmer", "response_format": "url"}
        told = HTTP.request("POST", f"{first.url}/v1/images/edits", fields=form).json()
        assert HTTP.request("GET", told["data"][0]["url"]).data[:2] == b"\xff\xd8"
    with started_server("--store", place) as second:
        body = {"parent": told["x_address"], "instructions": "black and white"}
        more = HTTP.request("POST", f"{second.url}/edit", json=body)
        assert more.status == 200 and more.json()["address"] != told["x_address"]
    assert len(objects(bucket)) == 2


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("s3://pictures?colour=red", "unknown options"), ("s3://pictures?sse=none", "AES256, aws:kms"),
        ("s3:///edits", "bucket is missing"), ("s3://pictures?endpoint=nowhere", "can't be used"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_place_is_said(tmp_path: Path, place: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Results(place, tmp_path, 60).put("anna", b"x", "image/png")


def test_a_bucket_that_is_not_there_or_not_reached(bucket: Any, endpoint: str, tmp_path: Path) -> None:
    missing = Results(f"s3://elsewhere?endpoint={endpoint}&region=us-east-1", tmp_path, 60)
    with pytest.raises(StateError, match="can't be stored"):
        missing.put("anna", b"x", "image/png")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    gone = Results(f"s3://pictures?endpoint=http://127.0.0.1:{port}&region=us-east-1", tmp_path, 60)
    with pytest.raises(StateError, match="can't be stored"):
        gone.put("anna", BytesIO(b"x").getvalue(), "image/png")
