"""Objects in S3-compatible storage.

The client is boto3: it finds credentials wherever S3 users keep them (environment, files, profiles, roles), and
speaks the conditional writes that keep an object from being written twice.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cockpit.ports import Object

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
OPTIONS = {"endpoint", "region", "profile"}
SINGLE = 64 * 1024 * 1024
"""Bytes that are put at once; more goes in parts of this size."""
READ = 1024 * 1024
CACHE = 20 * 1024**3
"""Bytes of local copies, the least recently used go first."""
IN_USE = 3600.0
"""Seconds after its last use in which a local copy stays."""
PROBE = "probe"
GONE = {"404", "NoSuchKey", "NotFound"}
TAKEN = {"412", "PreconditionFailed"}
AGAIN = {"409", "ConditionalRequestConflict"}
TRIES = 5


def open_objects(location: str, local: Path) -> S3Objects:
    """`s3://BUCKET/PREFIX?endpoint=URL&region=NAME&profile=NAME` (all but the bucket may be left out).

    `local` holds copies of what is read. Raises ValueError for a malformed location, OSError when boto3 is missing.
    """
    where = urlsplit(location)
    options = parse_qs(where.query, keep_blank_values=True)
    if where.scheme != "s3" or not BUCKET.fullmatch(where.netloc):
        raise ValueError(f"{_plain(location)}: s3://BUCKET/PREFIX?endpoint=URL is wanted, without credentials")
    if unknown := sorted(set(options) - OPTIONS):
        raise ValueError(f"{_plain(location)}: unknown option {unknown[0]!r}; known are {', '.join(sorted(OPTIONS))}")
    prefix = where.path.strip("/")
    if prefix and not KEY.fullmatch(prefix):
        raise ValueError(f"{_plain(location)}: {prefix!r} cannot be a prefix of objects")
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise OSError("boto3 is missing: pip install 'cockpit-ops[s3]'") from None
    chosen = {name: values[-1] for name, values in options.items()}
    try:
        session = boto3.session.Session(profile_name=chosen.get("profile"), region_name=chosen.get("region"))
        client = session.client(
            "s3", endpoint_url=chosen.get("endpoint"),
            config=Config(
                connect_timeout=5, read_timeout=60, retries={"max_attempts": 4, "mode": "standard"},
                s3={"addressing_style": "path" if "endpoint" in chosen else "auto"},
                # checksums that S3 knows and many compatible stores do not; ours are in the keys
                request_checksum_calculation="when_required", response_checksum_validation="when_required",
            ),
        )
    except (BotoCoreError, ValueError) as e:
        raise ValueError(f"{_plain(location)}: {e}") from None
    return S3Objects(client, where.netloc, prefix, local)


def _plain(location: str) -> str:
    """For messages: without what somebody may have written before an @."""
    return re.sub(r"//[^/?#]*@", "//...@", location)


class S3Objects:
    """Implements `cockpit.ports.ObjectStore`: a key is `PREFIX/KEY` of a bucket."""

    def __init__(self, client: Any, bucket: str, prefix: str, local: Path) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._cache = local / "cache"
        self._conditional = False
        """Writes only when there is no such object are known to be kept."""

    def put_once(self, key: str, content: Path | bytes) -> bool:
        name = self._name(key)
        if not self._conditional:
            self._probe()
        if isinstance(content, Path) and content.stat().st_size > SINGLE:
            return self._put_parts(name, content)
        for _ in range(TRIES):
            with contextlib.ExitStack() as stack:
                body: Any = content if isinstance(content, bytes) else stack.enter_context(content.open("rb"))
                answer = self._put(name, body)
            if answer is not None:
                return answer
        raise OSError(f"{self._where(name)}: others write it at the same time")

    def get(self, key: str, limit: int) -> bytes:
        name = self._name(key)
        with self._errors(name):
            body = self._client.get_object(Bucket=self._bucket, Key=name)["Body"]
            data: bytes = body.read(limit + 1)
            body.close()
        if len(data) > limit:
            raise OSError(f"{self._where(name)}: more than {limit} bytes")
        return data

    def file(self, key: str) -> Path:
        """The copy that is here; fetched when there is none, which lasts."""
        name = self._name(key)
        path = self._cache / key
        if path.is_file():
            os.utime(path)
            return path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.parent / f".new-{secrets.token_hex(8)}"
        try:
            with self._errors(name):
                answer = self._client.get_object(Bucket=self._bucket, Key=name)
                self._evict(answer["ContentLength"])
                with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                    for block in answer["Body"].iter_chunks(READ):
                        out.write(block)
            if temporary.stat().st_size != answer["ContentLength"]:
                raise OSError(f"{self._where(name)}: it ended early")
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def size(self, key: str) -> int | None:
        name = self._name(key)
        try:
            with self._errors(name):
                return int(self._client.head_object(Bucket=self._bucket, Key=name)["ContentLength"])
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> Iterator[Object]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        found = []
        with self._errors(prefix):
            for page in pages:
                for entry in page.get("Contents", ()):
                    key = entry["Key"].removeprefix(self._prefix)
                    if KEY.fullmatch(key) and key != PROBE:
                        found.append(Object(key, entry["Size"], entry["LastModified"].timestamp()))
        yield from sorted(found)

    def delete(self, key: str) -> None:
        name = self._name(key)
        with self._errors(name):
            self._client.delete_object(Bucket=self._bucket, Key=name)
        (self._cache / key).unlink(missing_ok=True)

    def _put(self, name: str, body: Any) -> bool | None:
        """None: try again."""
        from botocore.exceptions import ClientError

        with self._errors(name):
            try:
                self._client.put_object(Bucket=self._bucket, Key=name, Body=body, IfNoneMatch="*")
                return True
            except ClientError as e:
                code = str(e.response.get("Error", {}).get("Code"))
                if code in TAKEN:
                    return False
                if code in AGAIN:
                    return None
                raise

    def _put_parts(self, name: str, path: Path) -> bool:
        """A large file; the condition is on its completion."""
        from botocore.exceptions import ClientError

        with self._errors(name):
            upload = self._client.create_multipart_upload(Bucket=self._bucket, Key=name)["UploadId"]
            try:
                parts: Any = []
                with path.open("rb") as f:
                    while block := f.read(SINGLE):
                        answer = self._client.upload_part(
                            Bucket=self._bucket, Key=name, UploadId=upload, PartNumber=len(parts) + 1, Body=block
                        )
                        parts.append({"ETag": answer["ETag"], "PartNumber": len(parts) + 1})
                self._client.complete_multipart_upload(
                    Bucket=self._bucket, Key=name, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                )
                return True
            except BaseException as e:
                with contextlib.suppress(ClientError):
                    self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)
                if isinstance(e, ClientError) and str(e.response.get("Error", {}).get("Code")) in TAKEN:
                    return False
                raise

    def _probe(self) -> None:
        """Some compatible stores take the condition and do not keep it: then a version could be written twice."""
        name = self._name(PROBE)
        self._put(name, b"written once\n")
        if self._put(name, b"written once\n"):
            raise OSError(
                f"{self._where(name)}: this storage writes over objects although it was told not to (If-None-Match);"
                " versions would not be safe in it"
            )
        self._conditional = True

    def _evict(self, coming: int) -> None:
        """Make room for `coming` bytes among the local copies."""
        copies = []
        for path in self._cache.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    facts = path.stat()
                    copies.append((facts.st_mtime, facts.st_size, path))
        total = coming + sum(size for _, size, _ in copies)
        for used, size, path in sorted(copies):
            if total <= CACHE or used > time.time() - IN_USE:
                return
            path.unlink(missing_ok=True)
            total -= size

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """The client's errors as OSError. Its messages name no credentials."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            yield
        except ClientError as e:
            code = str(e.response.get("Error", {}).get("Code"))
            if code in GONE:
                raise FileNotFoundError(f"{self._where(name)} is missing") from None
            raise OSError(f"{self._where(name)}: {e}") from None
        except (BotoCoreError, HTTPClientError) as e:
            raise OSError(f"{self._where(name)}: {e}") from None

    def _where(self, name: str) -> str:
        return f"s3://{self._bucket}/{name}"

    def _name(self, key: str) -> str:
        if len(key) > 512 or not KEY.fullmatch(key):
            raise OSError(f"{key[:80]!r} cannot be the name of an object")
        return self._prefix + key
