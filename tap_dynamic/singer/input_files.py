"""The files of `--config`, `--state` and `--catalog`: JSON in UTF-8, whatever the locale."""

from __future__ import annotations

import json
from typing import Any

import click
from singer_sdk.plugin_base import JSONSchemaValidator

from tap_dynamic.api.exports import MODELS
from tap_dynamic.errors import TapError
from tap_dynamic.load.state import RowState
from tap_dynamic.singer.catalog import CATALOG_SCHEMA

STATE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "bookmarks": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "partitions": {"type": "array", "items": {"type": "object", "required": ["context"]}},
                    "progress_markers": {"type": "object"},
                },
            },
        }
    },
}


def read_config(path: str) -> dict[str, Any]:
    """Read a file of `--config`."""
    return _checked(_load(path, "config"), "config", {"type": "object"})


def read_catalog(path: str) -> dict[str, Any]:
    """Read the file of `--catalog`."""
    return _checked(_load(path, "catalog"), "catalog", CATALOG_SCHEMA)


def read_state(path: str) -> dict[str, Any]:
    """Read the file of `--state`: a state, the STATE message around it, or what `meltano state get` prints."""
    state = _checked(unwrap_state(_load(path, "state")), "state", STATE_SCHEMA)
    if state and "bookmarks" not in state:
        msg = "The state has no bookmarks. Use the value of the last STATE message, or run a full refresh without it."
        raise TapError(msg)
    for model in MODELS:
        RowState.parse(state.get("bookmarks", {}).get(model, {}), f"bookmarks.{model}")
    return state


def unwrap_state(content: Any) -> Any:
    """Return the state inside a STATE message, or inside the output of `meltano state get`."""
    if isinstance(content, dict) and content.get("type") == "STATE":
        return content.get("value")
    if isinstance(content, dict) and set(content) == {"singer_state"}:
        return content["singer_state"]
    return content


ADVICE = {
    "config": "Correct it.",
    "catalog": "Run the discovery again.",
    "state": "Repair it, or run a full refresh.",
}


def _load(path: str, name: str) -> Any:
    try:
        with click.open_file(path, "rb") as file:  # `-` is stdin
            data = file.read()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        msg = f"The file of --{name} can't be read ({reason.lower()}). Check its path."
        raise TapError(msg) from None
    try:
        content = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse)
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        msg = f"The {name} is corrupt: it is not JSON in UTF-8. {ADVICE[name]}"
        raise TapError(msg) from None
    return content


def _refuse(constant: str) -> None:
    """Refuse NaN and infinite numbers, which are not JSON."""
    raise ValueError(constant)


def _checked(content: Any, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    for error in JSONSchemaValidator(schema).iter_errors(content):
        place = ".".join(str(part) for part in error.absolute_path) or "the top level"
        msg = f"The {name} is corrupt: {place} is not as it must be ({error.validator}). {ADVICE[name]}"
        raise TapError(msg)
    return dict(content)
