"""A folder in an S3 bucket: s3://bucket/prefix?endpoint=URL&region=NAME. Who may read it is boto3's matter."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from edge_runtime.canonical_json import MAX_JSON_BYTES
from edge_runtime.errors import OptionError, SourceError
from edge_runtime.manifest import MANIFEST_FILE, Component, DataFile
from edge_runtime.minisign import MAX_SIGNATURE_BYTES, SUFFIX
from edge_runtime.source import BrokenOffError, SourceOptions

_OPTIONS: Final = ("endpoint", "region")
_MISSING: Final = ("NoSuchKey", "404")
_CONFIG: Final = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}}
_CHUNK_BYTES: Final = 256 * 1024


class S3:
    """`address` is the one above; an endpoint without TLS needs `plain_http`."""

    def __init__(self, address: str, options: SourceOptions) -> None:
        parts = urlsplit(address)
        given = dict(parse_qsl(parts.query))
        if unknown := set(given) - set(_OPTIONS):
            raise OptionError(
                "unknown options of an S3 address", got=", ".join(sorted(unknown)), allowed=", ".join(_OPTIONS)
            )
        if not parts.netloc:
            raise OptionError("the bucket is missing", got=address, allowed="s3://bucket/prefix")
        endpoint = given.get("endpoint")
        if endpoint and not endpoint.startswith("https://") and not options.plain_http:
            raise OptionError("this endpoint has no TLS", got=endpoint, hint="use https, or say --plain-http")
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        try:
            self._client: Any = boto3.client(
                "s3", endpoint_url=endpoint, region_name=given.get("region"), config=Config(**_CONFIG)
            )
        except (BotoCoreError, ValueError) as error:
            raise OptionError("this S3 address can't be used", got=error) from error

    def manifest(self) -> bytes:
        """See `Source`."""
        found = self._small(MANIFEST_FILE, MAX_JSON_BYTES + 1)
        if found is None:
            raise SourceError(f"there is no {MANIFEST_FILE} there", got=f"s3://{self._bucket}/{self._prefix}")
        return found

    def signature(self) -> bytes | None:
        """See `Source`."""
        return self._small(f"{MANIFEST_FILE}{SUFFIX}", MAX_SIGNATURE_BYTES)

    def read(self, part: Component | DataFile, offset: int) -> Generator[bytes, None, None]:
        """See `Source`."""
        if offset == part.bytes:  # S3 has no empty ranges
            return
        body = self._body(part.file, offset)
        if body is None:
            raise SourceError(f"there is no {part.file} there", got=f"s3://{self._bucket}/{self._prefix}")
        try:
            while chunk := body.read(_CHUNK_BYTES):
                yield chunk
        except (BotoCoreError, OSError) as error:
            raise BrokenOffError(f"the bucket {self._bucket} broke off", got=error) from error
        finally:
            body.close()

    def close(self) -> None:
        """See `Source`."""
        self._client.close()

    def _small(self, name: str, size_bytes: int) -> bytes | None:
        body = self._body(name, 0)
        if body is None:
            return None
        try:
            data: bytes = body.read(size_bytes)
        except (BotoCoreError, OSError) as error:
            raise BrokenOffError(f"the bucket {self._bucket} broke off", got=error) from error
        finally:
            body.close()
        return data

    def _body(self, name: str, offset: int) -> Any:
        """Return the stream of an object, None when there is none."""
        key = f"{self._prefix}/{name}" if self._prefix else name
        try:
            return self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={offset}-")["Body"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                return None
            raise SourceError(f"the bucket {self._bucket} refuses {key}", got=error) from error
        except BotoCoreError as error:
            raise BrokenOffError(f"the bucket {self._bucket} can't be reached", got=error) from error


SOURCE = S3
