"""Where BATCH files are stored: a local folder or an object store."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from tap_dynamic.errors import TapError
from tap_dynamic.http.failures import causes, host_of
from tap_dynamic.redaction import first_line

if TYPE_CHECKING:
    from singer_sdk.helpers._batch import StorageTarget

PART = 8 << 20
"""Bytes of a part of a multipart upload, which are kept in memory; s3fs would keep 50 MiB."""


def store_file(file: IO[bytes], storage: StorageTarget, name: str, label: str) -> str:
    """Copy a file, from where it stands, to a storage, where it appears whole or not at all; return its URL.

    `StorageTarget.open` would create the bucket whose name is mistyped, and leave pieces of files in TMPDIR.

    Raises:
        TapError: If the storage fails.
    """
    try:
        _quieten_object_stores()
        filesystem, root = url_to_fs(storage.root, **_options(storage))
        path = f"{root.rstrip('/')}/{name}"
        if isinstance(filesystem, LocalFileSystem):
            _store_locally(file, Path(path))
        else:
            with filesystem.transaction:
                _upload(file, filesystem.open(path, "wb", block_size=PART))
        # `StorageTarget.get_url` quotes letters that are not ASCII, and targets do not unquote them.
        return str(filesystem.unstrip_protocol(path))
    except Exception as error:
        # Storages raise errors of their own libraries, whose texts hold URLs.
        msg = (
            f"{label} can't be stored in {_place(storage.root)}: {storage_failure(error)}. Check batch_config.storage."
        )
        raise TapError(msg) from None


def _upload(file: IO[bytes], stored: Any) -> None:
    try:
        shutil.copyfileobj(file, stored)
    except BaseException:
        stored.closed = True  # closing it would upload what is buffered, also after a signal
        raise
    stored.close()


def _options(storage: StorageTarget) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(json.dumps(storage.params or {}, default=float))  # without Decimals
    if storage.root.startswith("s3://"):
        # s3fs and botocore would both retry, for an hour if a store does not answer.
        limits = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 0}}
        options["config_kwargs"] = {**limits, **(options.get("config_kwargs") or {})}
    return options


def _quieten_object_stores() -> None:
    """Keep out of the log what these libraries write at DEBUG: headers with keys, signatures and session tokens."""
    libraries = ("aiobotocore", "aiohttp", "botocore", "fsspec", "s3fs")
    for name in (*libraries, *logging.root.manager.loggerDict):
        if name.partition(".")[0] in libraries:
            logger = logging.getLogger(name)
            logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))


def _store_locally(file: IO[bytes], path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")  # engines that read the folder ignore it
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("wb") as stored:
            shutil.copyfileobj(file, stored)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _place(root: str) -> str:
    """Return the root of a storage without what could be a secret."""
    parts = urlsplit(root)
    return first_line(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl())


STORAGE_FAILURES = {
    "AccessDenied": "access is denied to these credentials",
    "ExpiredToken": "the session token has expired",
    "InvalidAccessKeyId": "the access key is unknown",
    "NoSuchBucket": "the bucket does not exist",
    "SignatureDoesNotMatch": "the secret key does not match the access key",
    "NoCredentialsError": "there are no credentials",
    "PartialCredentialsError": "the credentials are incomplete",
    "ProfileNotFound": "the AWS profile does not exist",
    "EndpointConnectionError": "{endpoint} can't be reached",
    "ConnectTimeoutError": "{endpoint} did not accept a connection in time",
    "ReadTimeoutError": "{endpoint} did not answer in time",
    "ConnectionClosedError": "{endpoint} closed the connection",
    **dict.fromkeys(("ServerTimeoutError", "SocketTimeoutError", "TimeoutError"), "{endpoint} did not answer in time"),
}
"""By the code of S3, or by the type of the error."""


def storage_failure(error: Exception) -> str:
    """Say why a storage failed, without the text of its error: it can hold a URL or a key."""
    chain = list(causes(error))
    codes = list(filter(None, map(_s3_code, chain)))
    names = [*codes, *(type(e).__name__ for e in chain)]
    if found := next((STORAGE_FAILURES[name] for name in names if name in STORAGE_FAILURES), None):
        return found.format(endpoint=host_of(next(filter(None, map(_endpoint, chain)), "")))
    if isinstance(error, OSError) and error.errno and not codes:
        return os.strerror(error.errno).lower()
    return names[0]


def _s3_code(error: BaseException) -> str:
    response = getattr(error, "response", None)  # of botocore's errors
    code = str(response.get("Error", {}).get("Code")) if isinstance(response, dict) else ""
    return code if code.isalnum() else ""


def _endpoint(error: BaseException) -> str:
    options = getattr(error, "kwargs", None)
    return str(options.get("endpoint_url", "")) if isinstance(options, dict) else ""
