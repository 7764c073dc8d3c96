"""The tap against SeaweedFS, a real object store: SigV4 pre-signed URLs, multipart ETags, BATCH files on S3."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from sandbox.data import csv_file
from tests.conftest import table, texts
from tests.object_store import BUCKET, CuttingProxy, Keys, ObjectStore, running_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.server import Sandbox
    from tests.conftest import Message, Run, Tap
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
    store.put(KEY, users(20_000))
    use_urls(lambda: store.presign(KEY))
    assert_rows(tap(), users(20_000))
    assert sandbox.count("file") == 0


def test_an_expired_url_is_replaced(store: ObjectStore, tap: Tap, use_urls: UseUrls, documented: Message) -> None:
    store.put(KEY, users(1000))
    with CuttingProxy(store) as proxy:
        use_urls(lambda: store.presign(KEY, 900 if proxy.requests else 0, endpoint=proxy.url))
        run = tap(_catalog=documented)
    assert_rows(run, users(1000))
    assert [request.status for request in proxy.requests] == [403, 200]


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


def test_resets_cost_none_of_the_bytes_received(
    store: ObjectStore, tap: Tap, use_urls: UseUrls, documented: Message
) -> None:
    store.put(KEY, users(5000))
    with CuttingProxy(store, after=200_000, times=11) as proxy:
        use_urls(lambda: store.presign(KEY, endpoint=proxy.url))
        run = tap(_catalog=documented)
    assert_rows(run, users(5000))
    assert proxy.resets == 11
    assert len(proxy.requests) == 12
    assert all(after.start == before.start + before.delivered for before, after in pairwise(proxy.requests))
    assert sum(request.delivered for request in proxy.requests) == len(users(5000))


@pytest.mark.parametrize(
    "replace",
    [
        pytest.param(lambda _: users(4000, seed=1), id="by a longer one"),
        pytest.param(lambda _: users(300, seed=1), id="by one shorter than what was read"),
        pytest.param(lambda old: old.replace(b"@example.com", b"@example.org"), id="by one of the same size"),
    ],
)
def test_an_object_overwritten_during_the_download(
    store: ObjectStore, tap: Tap, use_urls: UseUrls, documented: Message, replace: Callable[[bytes], bytes]
) -> None:
    old = store.put(KEY, users(3000))
    new = replace(users(3000))
    with CuttingProxy(store, after=1_000_000, times=1, callback=lambda _: store.put(KEY, new)) as proxy:
        use_urls(lambda: store.presign(KEY, endpoint=proxy.url))
        run = tap(_catalog=documented)
    assert_rows(run, new)
    assert proxy.resets == 1
    assert proxy.requests[0].etag == old
    assert proxy.requests[-1].etag not in {old, ""}


def batch_config(store: ObjectStore, root: str, keys: Keys) -> dict[str, Any]:
    params = {"endpoint_url": store.url, "key": keys.access, "secret": keys.secret}
    return {
        "encoding": {"format": "jsonl", "compression": "gzip"},
        "batch_size": 1000,
        "storage": {"root": root, "params": params},
    }


@needs_s3fs
def test_batch_files_on_s3_hold_the_same_records(
    store: ObjectStore, sandbox: Sandbox, tap: Tap, documented: Message
) -> None:
    sandbox.add("users", users(2500))
    plain = tap(_catalog=documented)
    run = tap(_catalog=documented, batch_config=batch_config(store, f"s3://{BUCKET}/batches", store.writer))
    assert run.code == 0, run.log
    manifests = {s: [url for m in run.of("BATCH", s) for url in m["manifest"]] for s in ("exports", "users")}
    assert len(manifests["users"]) == 3
    keys = []
    for stream, urls in manifests.items():
        lines: list[bytes] = []
        for url in map(urlsplit, urls):
            assert (url.scheme, url.netloc) == ("s3", BUCKET)
            keys.append(url.path.lstrip("/"))
            lines += gzip.decompress(store.get(keys[-1])).splitlines()
        assert [json.loads(line) for line in lines] == plain.records(stream)
    assert store.list("batches/") == sorted(keys)
    assert run.bookmark("users") == plain.bookmark("users")


@needs_s3fs
@pytest.mark.parametrize("problem", ["wrong credentials", "missing bucket"])
def test_a_failing_batch_storage_moves_no_bookmark(
    store: ObjectStore, sandbox: Sandbox, tap: Tap, documented: Message, problem: str
) -> None:
    sandbox.add("users", users(10))
    keys, bucket = store.writer, BUCKET
    if problem == "wrong credentials":
        keys = Keys(keys.access, "wr0ng" * 8)
    else:
        bucket = "missing"
    run = tap(_catalog=documented, batch_config=batch_config(store, f"s3://{bucket}/failing", keys))
    assert run.code == 1
    assert len(run.errors) == 1, run.errors
    assert keys.secret not in run.out + run.log
    assert not run.of("BATCH", "users")
    assert not any("replication_key_value" in m["value"]["bookmarks"].get("users", {}) for m in run.of("STATE"))
    assert not store.list("failing/")
