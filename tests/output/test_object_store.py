"""The tap against SeaweedFS, a real object store: SigV4 pre-signed URLs, multipart ETags, BATCH files on S3."""

from __future__ import annotations

import copy
import functools
import gzip
import importlib.util
import io
import json
import secrets
import socket
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from sandbox.data import csv_file, to_csv
from tap_dynamic.output.storage import storage_failure
from tests.conftest import Run, select, table, texts
from tests.object_store import BUCKET, CuttingProxy, Keys, ObjectStore, running_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap
    from tests.object_store import ProxiedRequest

    # Makes the sandbox return the URLs that a function builds, a new one in each response.
    UseUrls = Callable[[Callable[[], str]], None]

pytestmark = pytest.mark.xdist_group("object store")  # one store, in one worker
needs_s3fs = pytest.mark.skipif(importlib.util.find_spec("s3fs") is None, reason="s3fs is not installed")

KEY = "users.csv"
users = functools.cache(functools.partial(csv_file, "users"))


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with running_store() as store:
        yield store


@pytest.fixture
def use_urls(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> UseUrls:
    sandbox.add("users")
    return lambda build: monkeypatch.setattr(sandbox, "sign", lambda _: build())


def assert_rows(run: Run, data: bytes) -> None:
    """Assert that a run succeeded, with exactly the rows of a file."""
    assert run.code == 0, run.log
    expected, records = table(data), texts(run.records("users"))
    assert len(records) == len(expected)
    pairs = zip(expected, records, strict=True)
    different = [number for number, (row, record) in enumerate(pairs, 1) if row.items() - record.items()]
    assert not different[:10]


def test_presigned_urls_are_discovered_and_read(
    store: ObjectStore, sandbox: Sandbox, tap: Tap, use_urls: UseUrls
) -> None:
    store.put(KEY, users(2000))
    use_urls(lambda: store.presign(KEY))
    assert_rows(tap(), users(2000))
    assert sandbox.count("file") == 0


def test_a_url_that_expires_during_the_download_is_replaced(
    store: ObjectStore, tap: Tap, use_urls: UseUrls, documented: Message
) -> None:
    store.put(KEY, users(3000))

    def expire(request: ProxiedRequest) -> None:
        store.wait_until_expired(request.path, proxy.host)

    with CuttingProxy(store, after=1_000_000, times=1, callback=expire) as proxy:
        use_urls(lambda: store.presign(KEY, 900 if proxy.requests else 2, endpoint=proxy.url))
        run = tap(_catalog=documented)
    assert_rows(run, users(3000))
    responses = [(request.start, request.status) for request in proxy.requests]
    assert responses == [(0, 200), (1_000_000, 403), (1_000_000, 206)]


def test_a_multipart_upload_is_resumed_by_its_etag(
    store: ObjectStore, tap: Tap, use_urls: UseUrls, documented: Message
) -> None:
    etag = store.put(KEY, users(12_000), multipart=True)
    assert etag.endswith('-2"')
    with CuttingProxy(store, after=5_300_000, times=1) as proxy:  # in the second part
        use_urls(lambda: store.presign(KEY, endpoint=proxy.url))
        run = tap(_catalog=documented)
    assert_rows(run, users(12_000))
    first, second = proxy.requests
    assert (first.status, first.etag) == (200, etag)
    assert (second.status, second.etag, second.start) == (206, etag, first.delivered)
    assert second.headers["If-Range"] == etag


def test_an_object_overwritten_by_one_of_the_same_size(
    store: ObjectStore, tap: Tap, use_urls: UseUrls, documented: Message
) -> None:
    old = store.put(KEY, users(3000))
    new = users(3000).replace(b"@example.com", b"@example.org")
    with CuttingProxy(store, after=1_000_000, times=1, callback=lambda _: store.put(KEY, new)) as proxy:
        use_urls(lambda: store.presign(KEY, endpoint=proxy.url))
        run = tap(_catalog=documented)
    assert_rows(run, new)
    assert proxy.resets == 1
    assert proxy.requests[0].etag == old
    assert proxy.requests[-1].etag not in {old, ""}


def batch_config(root: str, params: Message, **options: Any) -> Message:
    encoding = {"format": "jsonl", "compression": "gzip"}
    return {"encoding": encoding, "batch_size": 1000, "storage": {"root": root, "params": params}, **options}


def params_of(store: ObjectStore, keys: Keys) -> Message:
    return {"endpoint_url": store.url, "key": keys.access, "secret": keys.secret}


def keys_of(run: Run, stream: str) -> list[str]:
    """Return the keys of a stream's files, from the BATCH messages."""
    urls = [urlsplit(url) for message in run.of("BATCH", stream) for url in message["manifest"]]
    assert {(url.scheme, url.netloc) for url in urls} <= {("s3", BUCKET)}
    return [url.path.lstrip("/") for url in urls]


DEBUG_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"level": "DEBUG", "handlers": ["stderr"]},
    "loggers": {"botocore.auth": {"level": "DEBUG"}},
}


@needs_s3fs
@pytest.mark.parametrize("way", ["params", "environment", "profile"])
def test_batch_files_on_s3_hold_the_same_records(  # noqa: PLR0913, PLR0917 (fixtures)
    store: ObjectStore, sandbox: Sandbox, tap: Tap, documented: Message, tmp_path: Path, way: str
) -> None:
    """With the ways to give credentials that docs/bulk.md shows."""
    sandbox.add("users", users(2500))
    plain = tap(_catalog=documented)
    environment, params = {"HOME": str(tmp_path)}, {}
    if way == "params":
        params = params_of(store, store.writer)
    elif way == "environment":
        environment |= {
            "AWS_ACCESS_KEY_ID": store.writer.access,
            "AWS_SECRET_ACCESS_KEY": store.writer.secret,
            "AWS_ENDPOINT_URL": store.url,
        }
    else:
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "config").write_text(f"[profile files]\nendpoint_url = {store.url}\n")
        (tmp_path / ".aws" / "credentials").write_text(
            f"[files]\naws_access_key_id = {store.writer.access}\naws_secret_access_key = {store.writer.secret}\n"
        )
        environment["AWS_PROFILE"] = "files"
    environment["SINGER_SDK_LOG_CONFIG"] = str(tmp_path / "logging.yaml")
    (tmp_path / "logging.yaml").write_text(json.dumps(DEBUG_LOGGING))
    root = f"s3://{BUCKET}/{way}"
    run = tap(_catalog=documented, batch_config=batch_config(root, params), environment=environment)
    assert run.code == 0, run.log
    keys = []
    for stream, count in (("exports", 1), ("users", 3)):
        keys += keys_of(run, stream)
        lines = [line for key in keys_of(run, stream) for line in gzip.decompress(store.get(key)).splitlines()]
        assert [json.loads(line) for line in lines] == plain.records(stream)
        assert len(keys_of(run, stream)) == count
    assert store.list(f"{way}/") == sorted(keys)
    assert run.bookmark("users") == plain.bookmark("users")
    assert "DEBUG" in run.log
    for secret in ("Signature", "Authorization", store.writer.secret):
        assert secret not in run.log


@needs_s3fs
def test_parquet_on_s3_holds_the_same_rows(
    store: ObjectStore, sandbox: Sandbox, tap: Tap, documented: Message, tmp_path: Path
) -> None:
    """Parts of a multipart upload have at least 5 MiB: random text, which does not shrink, makes several."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    rows = [[str(n), secrets.token_hex(20_000)] for n in range(900)]
    sandbox.add("users", to_csv([["id", "note"], *rows]))
    encoding = {"format": "parquet"}
    plain = tap(_catalog=documented, batch_config=batch_config(str(tmp_path), {}, encoding=encoding))
    config = batch_config(f"s3://{BUCKET}/parquet", params_of(store, store.writer), encoding=encoding)
    run = tap(_catalog=documented, batch_config=config)
    assert run.code == 0, run.log
    (key,), (local,) = keys_of(run, "users"), tmp_path.glob("*--users-*")
    assert store.client.head_object(Bucket=BUCKET, Key=key)["ETag"].endswith('-3"')
    stored = parquet.read_table(io.BytesIO(store.get(key)))
    assert stored.equals(parquet.read_table(local))
    assert stored["note"].to_pylist() == [note for _, note in rows]
    assert run.bookmark("users") == plain.bookmark("users")


def test_why_a_storage_failed() -> None:
    """By the code of S3, or by the type of the error; never by its text."""
    boto = pytest.importorskip("botocore.exceptions", reason="s3fs is not installed")

    def answer(code: str) -> Any:
        return boto.ClientError({"Error": {"Code": code, "Message": "secret"}}, "PutObject")

    endpoint = {"endpoint_url": "https://s3.example.com/secret?x", "error": "secret"}
    wrapped = PermissionError(13, "secret")
    wrapped.__cause__ = answer("InvalidAccessKeyId")
    for error, reason in {
        wrapped: "the access key is unknown",
        answer("AccessDenied"): "access is denied to these credentials",
        answer("SlowDown"): "SlowDown",
        answer("a secret"): "ClientError",
        boto.NoCredentialsError(): "there are no credentials",
        boto.ProfileNotFound(profile="secret"): "the AWS profile does not exist",
        boto.EndpointConnectionError(**endpoint): "s3.example.com can't be reached",
        boto.ReadTimeoutError(**endpoint): "s3.example.com did not answer in time",
        NotADirectoryError(20, "secret"): "not a directory",
    }.items():
        assert storage_failure(error) == reason


PROBLEMS = {
    "a wrong secret key": "the secret key does not match the access key",
    "a missing bucket": "the bucket does not exist",
    "a misspelt bucket": "ParamValidationError",
    "a store that does not answer": "did not answer in time",
}


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@needs_s3fs
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_failing_batch_storage_moves_no_bookmark(  # noqa: PLR0913, PLR0917 (fixtures)
    store: ObjectStore, sandbox: Sandbox, tap: Tap, documented: Message, tmp_path: Path, silent: str, problem: str
) -> None:
    sandbox.add("users", users(10))
    # The owner may create buckets: one whose name is mistyped must not come into being.
    params, bucket = params_of(store, store.owner), BUCKET
    if problem == "a wrong secret key":
        params["secret"] = "wr0ng" * 8
    elif problem == "a missing bucket":
        bucket = "missing"
    elif problem == "a misspelt bucket":
        bucket = "miss~pelt"
    else:
        params |= {"endpoint_url": silent, "config_kwargs": {"read_timeout": 0.5}}
    catalog = select(copy.deepcopy(documented), "users")
    config = batch_config(f"s3://{bucket}/failing", params)
    run = tap(_catalog=catalog, batch_config=config, environment={"HOME": str(tmp_path)})
    assert run.code == 1
    (error,) = run.errors
    assert error.startswith(f"Stream users, BATCH file can't be stored in s3://{bucket}/failing: ")
    assert error.endswith(f"{PROBLEMS[problem]}. Check batch_config.storage.")
    assert params["secret"] not in run.out + run.log
    assert params["key"] not in run.out + run.log
    assert not run.of("BATCH")
    assert run.bookmark("users").get("replication_key_value") is None
    assert not store.list("failing/")
    assert [b["Name"] for b in store.client.list_buckets()["Buckets"]] == [BUCKET]


@needs_s3fs
def test_a_store_that_dies_half_way(sandbox: Sandbox, tap: Tap, documented: Message) -> None:
    """The bookmark stays where it was; the next run, with the state of this one, is complete."""
    sandbox.add("users", users(20_000))
    catalog = select(copy.deepcopy(documented), "users")
    with running_store() as store:
        config = batch_config(f"s3://{BUCKET}/night", params_of(store, store.writer))
        command = tap.command(_catalog=catalog, batch_config=config)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            out = b""
            while b'"BATCH"' not in out:
                out += process.stdout.readline()
            store.kill()
            rest, log = process.communicate(timeout=60)
    run = Run(process.returncode, (out + rest).decode(), log.decode())
    host = urlsplit(store.url).netloc
    assert run.code == 1
    assert len(run.errors) == 1
    assert run.errors[0].startswith(f"Stream users, BATCH file can't be stored in s3://{BUCKET}/night: {host} ")
    assert store.writer.secret not in run.log
    assert "Traceback" not in run.log
    assert 1 <= len(run.of("BATCH")) < 20
    assert run.bookmark("users").get("replication_key_value") is None
    with running_store() as store:
        config = batch_config(f"s3://{BUCKET}/night", params_of(store, store.writer))
        run = tap(_catalog=catalog, _state=run.state, batch_config=config)
        assert run.code == 0, run.log
        lines = [line for key in keys_of(run, "users") for line in gzip.decompress(store.get(key)).splitlines()]
    assert texts([json.loads(line) for line in lines]) == texts(tap(_catalog=catalog).records("users"))
