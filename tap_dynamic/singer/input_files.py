"""The files of `--config`, `--state` and `--catalog`: JSON in UTF-8, whatever the locale."""

from __future__ import annotations

import codecs
from typing import Any

import click
import msgspec
from singer_sdk.singerlib import Catalog

from tap_dynamic.errors import TapError

ADVICE = {
    "config": "Correct it.",
    "catalog": "Run the discovery again.",
    "state": "Repair it, or run a full refresh.",
}


class _State(msgspec.Struct):
    bookmarks: dict[str, dict[str, Any]] = {}


def read_config(path: str) -> dict[str, Any]:
    """Read a file of `--config`."""
    return _checked(_decode(path, "config"), "config", dict[str, Any])


def read_catalog(path: str) -> dict[str, Any]:
    """Read the file of `--catalog`."""
    content = _checked(_decode(path, "catalog"), "catalog", dict[str, Any])
    try:
        for entry in Catalog.from_dict({"streams": content["streams"]}).streams:
            entry.metadata.resolve_selection()
            for key in (entry.key_properties, entry.metadata.root.table_key_properties):
                msgspec.convert(key, list[str] | None)
    except Exception:
        msg = f"The catalog is corrupt: the Meltano SDK can't parse it. {ADVICE['catalog']}"
        raise TapError(msg) from None
    return content


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
    return state  # `RowState` validates the part of each row stream


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
