"""Results in an S3 bucket: s3://bucket/prefix?sse=aws:kms&kms_key=ID&endpoint=URL&region=NAME&cdn=URL.

All but the bucket is optional. Objects are encrypted by the bucket's side (`sse`: AES256, the default, or aws:kms).
Links are presigned, or lie below `cdn`, a delivery network in front of the bucket. Who may read and write is boto3's
matter: environment, files, the machine's role. Old results are removed by a lifecycle rule of the bucket: listing it
from every node would cost more; so is how much is kept there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from edge_runtime.errors import OptionError, StateError, UnknownError
from server.quota import Quota

_ENCRYPTIONS: Final = ("AES256", "aws:kms")
_OPTIONS: Final = ("sse", "kms_key", "endpoint", "region", "cdn")
_MISSING: Final = ("NoSuchKey", "404")
_CONFIG: Final = {"connect_timeout": 5, "read_timeout": 20, "signature_version": "s3v4", "retries": {"max_attempts": 3}}


class S3:
    """`place` is the address above; nothing of it is kept in `state`, and the bucket's size is its owner's matter."""

    def __init__(self, place: str, state: Path | None, quota: Quota) -> None:
        parts = urlsplit(place)
        options = dict(parse_qsl(parts.query))
        if unknown := set(options) - set(_OPTIONS):
            raise _wrong("unknown options", ", ".join(sorted(unknown)), ", ".join(_OPTIONS))
        encryption = options.get("sse", _ENCRYPTIONS[0])
        if encryption not in _ENCRYPTIONS:
            raise _wrong("this encryption is not known", encryption, ", ".join(_ENCRYPTIONS))
        if not parts.netloc:
            raise _wrong("the bucket is missing", place, "s3://bucket/prefix")
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._cdn = options.get("cdn", "").rstrip("/")
        self._encryption = {"ServerSideEncryption": encryption}
        if "kms_key" in options:
            self._encryption["SSEKMSKeyId"] = options["kms_key"]
        try:
            self._client: Any = boto3.client(
                "s3", endpoint_url=options.get("endpoint"), region_name=options.get("region"), config=Config(**_CONFIG)
            )
        except (BotoCoreError, ValueError) as error:
            raise _wrong("it can't be used", error) from error

    def put(self, name: str, data: bytes, media_type: str) -> None:
        """Put an object, which S3 shows whole or not at all."""
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=self._key(name), Body=data, ContentType=media_type, **self._encryption
            )
        except (BotoCoreError, ClientError) as error:
            raise StateError("the result can't be stored in the bucket", got=error) from error

    def get(self, name: str) -> bytes:
        """Get an object."""
        try:
            data: bytes = self._client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                raise UnknownError(
                    "there is no result of this address", hint="it may have expired; send the picture itself",
                    param="parent",
                ) from error
            raise StateError("the result can't be read from the bucket", got=error) from error
        except BotoCoreError as error:
            raise StateError("the result can't be read from the bucket", got=error) from error
        return data

    def link(self, name: str, seconds: float) -> str | None:
        """Return a presigned address, or the one below the delivery network."""
        if self._cdn:
            return f"{self._cdn}/{self._key(name)}"
        link: str = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": self._key(name)}, ExpiresIn=int(seconds)
        )
        return link

    def kept_bytes(self) -> int | None:
        """Return None: it would take listing the bucket."""
        return None

    def sweep(self, keep_seconds: float) -> None:
        """Leave that to the bucket's lifecycle."""

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


def _wrong(what: str, got: object, allowed: object = None) -> OptionError:
    return OptionError(f"the store in S3: {what}", got=got, allowed=allowed, code="bad_store")


STORAGE = S3
