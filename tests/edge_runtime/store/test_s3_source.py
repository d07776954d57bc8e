"""A model in a bucket, at moto's S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from edge_runtime.artifact import Artifact
from edge_runtime.errors import SourceError
from edge_runtime.source import SourceOptions, open_source
from edge_runtime.store import pull as pulling
from edge_runtime.store.layout import Store
from edge_runtime.store.pull import Wish, pull
from tests.edge_runtime.store.conftest import MODEL_BYTES, Maker
from tests.program import SOURCE_ALONE

pytestmark = SOURCE_ALONE
PLAIN = SourceOptions(plain_http=True)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url, region_name="eu-central-1").create_bucket(
        Bucket="models", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    yield url
    server.stop()


def upload(url: str, folder: Path, prefix: str) -> None:
    client = boto3.client("s3", endpoint_url=url, region_name="eu-central-1")
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "models", f"{prefix}/{path.relative_to(folder).as_posix()}")
    client.close()


def test_a_model_is_pulled_from_a_bucket_and_gone_on_with(
    store: Store, bucket: str, made: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made()
    (folder / "manifest.json.minisig").write_text("a signature")
    upload(bucket, folder, "edge/toy")
    address = f"s3://models/edge/toy?endpoint={bucket}&region=eu-central-1"
    calls: list[int] = []

    def full_at_half(done: int, total: int) -> None:
        calls.append(done)
        if 500_000 < done < 600_000:
            raise OSError(28, "No space left on device")

    with pytest.raises(pulling.StateError, match="disk became full"):
        pull(store, open_source(address, PLAIN), Wish(address=address), full_at_half)
    pulled = pull(store, open_source(address, PLAIN), Wish(address=address))
    assert pulled.fetched_bytes < MODEL_BYTES and Artifact.open(pulled.version.folder)
    assert (pulled.version.folder / "manifest.json.minisig").read_text() == "a signature"
    with pytest.raises(SourceError, match="no manifest.json"):
        pull(store, open_source(address.replace("toy", "none"), PLAIN), Wish(address=address))
    with pytest.raises(SourceError, match="refuses"):
        pull(store, open_source(address.replace("models", "nobody"), PLAIN), Wish(address=address))
