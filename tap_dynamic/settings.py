"""The settings."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk import typing as th
from singer_sdk.helpers.capabilities import FLATTENING_CONFIG, STREAM_MAPS_CONFIG

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

MAX_SECONDS = 86_400
UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"
TOKEN_PATTERN = r"^dyn_[!-~]+\Z"  # noqa: S105 (a pattern)
URL_PATTERN = r"^https?://([^\s/?#@:\[\]]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^\s?#]*)?\Z"
# A mounted secret often ends in a line break.
STRIPPED = ("environment_id", "api_token", "api_url")
SHAPING_SETTINGS = (*STREAM_MAPS_CONFIG["properties"], *FLATTENING_CONFIG["properties"])
"""The SDK's settings that change what a row of the table looks like."""
BOOLEANS = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off", ""), False)}
"""How the environment holds booleans, lower case."""


def _seconds(name: str, title: str, default: int, description: str) -> th.Property[float]:
    return th.Property(
        name,
        th.NumberType(exclusive_minimum=0, maximum=MAX_SECONDS),
        default=default,
        title=title,
        description=description,
    )


CONFIG_SCHEMA: dict[str, Any] = th.PropertiesList(
    th.Property(
        "environment_id",
        th.StringType(pattern=UUID_PATTERN),
        required=True,
        title="Environment ID",
        description="UUID of the environment whose exports are read. A project has two, sandbox and live.",
    ),
    th.Property(
        "api_token",
        th.StringType(pattern=TOKEN_PATTERN),
        required=True,
        secret=True,
        title="API Token",
        description="API token of that environment, made in Dynamic's dashboard. It begins with `dyn_`.",
    ),
    th.Property(
        "export_ids",
        th.ArrayType(th.StringType(pattern=UUID_PATTERN)),
        title="Export IDs",
        description="Read exactly these exports, even if read before. Not together with `request_exports`.",
    ),
    th.Property(
        "request_exports",
        th.BooleanType,
        default=False,
        title="Request Exports",
        description="Request a fresh export of every selected row stream, wait for it and read it.",
    ),
    th.Property(
        "changes_only",
        th.BooleanType,
        default=False,
        title="Changes Only",
        description=(
            "Emit only the rows that were added, changed or deleted since the export that was loaded last."
            " Not together with `export_ids`."
        ),
    ),
    th.Property(
        "snapshots",
        th.StringType(allowed_values=["latest", "all"]),
        default="latest",
        title="Snapshots",
        description=(
            "Without `export_ids` and `request_exports`: read the newest completed export of each model (`latest`),"
            " or every unread one in order of completion (`all`)."
        ),
    ),
    th.Property(
        "start_date",
        th.DateTimeType,
        title="Start Date",
        description="Ignore exports that were completed before this moment.",
    ),
    _seconds("poll_interval", "Poll Interval", 5, "Seconds between two polls of a pending export."),
    _seconds("export_timeout", "Export Timeout", 3600, "Longest wait for a pending export, in seconds."),
    _seconds("connect_timeout", "Connect Timeout", 10, "Longest wait for a connection, in seconds."),
    _seconds("read_timeout", "Read Timeout", 60, "Longest wait for the next byte of a response, in seconds."),
    th.Property(
        "api_url",
        th.StringType(pattern=URL_PATTERN),
        default="https://app.dynamicauth.com/api/v0",
        title="API URL",
        description="Base URL of Dynamic's API.",
    ),
    th.Property(
        "emit_activate_version_messages",
        th.BooleanType,
        default=False,
        title="Emit ACTIVATE_VERSION Messages",
        description=(
            "After the last row of an export, let the target delete the rows that are not in it,"
            " such as users who were deleted."
        ),
    ),
    th.Property(
        "max_deleted_percent",
        th.NumberType(minimum=0, maximum=100),
        default=50,
        title="Max Deleted Percent",
        description=(
            "With `changes_only` or `emit_activate_version_messages`: an export in which more of the rows are gone,"
            " in percent, fails its stream. Most likely only a part of the users was exported."
        ),
    ),
    additional_properties=False,
).to_dict()


def normalize(config: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Add defaults, strip blanks around credentials, and read numbers, which the environment holds as text."""
    for name, definition in schema["properties"].items():
        if "default" in definition:
            config.setdefault(name, definition["default"])
        value = config.get(name)
        if name in STRIPPED and isinstance(value, str):
            config[name] = value.strip()
        if "number" in definition.get("type", ()) and isinstance(value, str):
            with contextlib.suppress(ValueError):
                config[name] = float(value)


def read_environment(environment: Mapping[str, str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings of the environment; what does not read as its type is left as text, which is refused later."""
    config = {}
    for name, definition in schema["properties"].items():
        if (text := environment.get(f"TAP_DYNAMIC_{name.upper()}")) is not None:
            config[name] = _read(text, definition.get("type", ()))
    return config


def _read(text: str, types: Container[str]) -> Any:
    if "boolean" in types:
        return BOOLEANS.get(text.lower(), text)
    if "string" in types or "number" in types:
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # ValueError: bytes that are not UTF-8
        return text.split(",") if "array" in types else text
