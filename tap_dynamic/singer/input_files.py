"""The files of `--config`, `--state` and `--catalog`: JSON in UTF-8, whatever the locale."""

from __future__ import annotations

import codecs
from typing import Any

import click
import msgspec

from tap_dynamic.api.exports import MODELS
from tap_dynamic.errors import TapError
from tap_dynamic.load.state import RowState

ADVICE = {
    "config": "Correct it.",
    "catalog": "Run the discovery again.",
    "state": "Repair it, or run a full refresh.",
}

# --- what the SDK and the tap rely on in a catalog and a state; they ignore other fields


class _Column(msgspec.Struct, rename="camel"):
    type: str | list[str] = ""
    any_of: list[_Column] = []
    one_of: list[_Column] = []
    properties: dict[str, _Column] = {}
    items: _Column | msgspec.UnsetType = msgspec.UNSET


class _StreamMetadata(msgspec.Struct, rename="kebab"):
    table_key_properties: list[str] | None = None
    replication_method: str | None = None


class _Metadata(msgspec.Struct):
    breadcrumb: list[str]
    metadata: _StreamMetadata


class _CatalogEntry(msgspec.Struct):
    tap_stream_id: str
    stream: str | None = None
    key_properties: list[str] | None = None
    schema: _Column | msgspec.UnsetType = msgspec.UNSET
    metadata: list[_Metadata] = []


class _Catalog(msgspec.Struct):
    streams: list[_CatalogEntry]


class _State(msgspec.Struct):
    bookmarks: dict[str, dict[str, Any]] = {}


# --- the files


def read_config(path: str) -> dict[str, Any]:
    """Read a file of `--config`."""
    return _checked(_decode(path, "config"), "config", dict[str, Any])


def read_catalog(path: str) -> dict[str, Any]:
    """Read the file of `--catalog`."""
    return _checked(_decode(path, "catalog"), "catalog", _Catalog)


def read_state(path: str) -> dict[str, Any]:
    """Read the file of `--state`: a state, the STATE message around it, or what `meltano state get` prints."""
    content = _decode(path, "state")
    if isinstance(content, dict) and content.get("type") == "STATE":
        content = content.get("value")
    elif isinstance(content, dict) and set(content) == {"singer_state"}:
        content = content["singer_state"]
    state = _checked(content, "state", _State)
    if state and "bookmarks" not in state:
        msg = "The state has no bookmarks. Use the value of the last STATE message, or run a full refresh without it."
        raise TapError(msg)
    for model in MODELS:
        RowState.parse(state.get("bookmarks", {}).get(model, {}), f"bookmarks.{model}")
    return state


def _decode(path: str, name: str) -> Any:
    try:
        with click.open_file(path, "rb") as file:  # `-` is stdin
            data = file.read()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        msg = f"The file of --{name} can't be read ({reason.lower()}). Check its path."
        raise TapError(msg) from None
    try:
        return msgspec.json.decode(data.removeprefix(codecs.BOM_UTF8))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        msg = f"The {name} is corrupt: it is not JSON in UTF-8. {ADVICE[name]}"
        raise TapError(msg) from None


def _checked(content: Any, name: str, form: Any) -> dict[str, Any]:
    try:
        msgspec.convert(content, form)
    except msgspec.ValidationError as error:  # its text has types and a path, not values
        msg = f"The {name} is corrupt: {error}. {ADVICE[name]}"
        raise TapError(msg) from None
    return dict(content)
