"""Object stores to test: each in a place of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.directory import open_objects as open_directory
from backends.s3 import open_objects as open_s3
from cockpit.ports import ObjectStore
from tests.s3 import CREDENTIALS, s3_server

Opener = Callable[[], ObjectStore]


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """`s3://BUCKET/PREFIX?endpoint=...`, with credentials in the environment and nowhere else."""
    import boto3

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    name = f"b-{uuid.uuid4().hex}"
    boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}/deep/prefix?endpoint={s3_url}&region=us-east-1"


@pytest.fixture(params=["directory", "s3"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the same store again and again; each time as if in another process."""
    if request.param == "directory":
        return lambda: open_directory("", tmp_path / "store")
    bucket: str = request.getfixturevalue("bucket")
    places = iter(range(100))
    return lambda: open_s3(bucket, tmp_path / f"local-{next(places)}")
