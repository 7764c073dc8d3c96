"""Settings: what they are, and why one is invalid, in words that never hold its value."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from singer_sdk import typing as th
from singer_sdk.mapper import PluginMapper
from singer_sdk.plugin_base import JSONSchemaValidator

from tap_dynamic.api.exports import MODELS
from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.load.changes import SHAPING_SETTINGS
from tap_dynamic.redaction import first_line
from tap_dynamic.schemas import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema import ValidationError

MAX_SECONDS = 86_400
UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z"
TOKEN_PATTERN = r"^dyn_[!-~]+\Z"  # noqa: S105 (a pattern)
URL_PATTERN = r"^https?://[^\s/?#@:\[\]]+(:[0-9]{1,5})?(/[^\s?#]*)?\Z"
PATTERNS: dict[str, str] = {
    UUID_PATTERN: "a lower-case UUID of 36 characters",
    TOKEN_PATTERN: "a token as Dynamic makes them: dyn_ and then no blanks",
    URL_PATTERN: "a URL that begins with https://",
}
"""What a pattern asks for, in words."""
STRIPPED = ("environment_id", "api_token", "api_url")
"""A mounted secret often ends in a line break."""
PACKAGES = {"parquet": "pyarrow", "s3": "s3fs"}
"""What a BATCH format or storage needs, by the name of its extra."""


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
    additional_properties=False,
).to_dict()


def normalize(config: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Strip blanks around credentials, and read numbers, which the environment holds as text."""
    for name, value in config.items():
        if name in STRIPPED and isinstance(value, str):
            config[name] = value.strip()
        is_number = "number" in schema["properties"].get(name, {}).get("type", ())
        if is_number and isinstance(value, (str, Decimal)):
            try:
                config[name] = float(value)
            except ValueError:
                continue


def find_environment_errors(environment: Mapping[str, str], schema: Mapping[str, Any], prefix: str) -> list[str]:
    """Return a line for each environment variable that the SDK would misread, or fail to read.

    Args:
        environment: The environment.
        schema: The JSON schema of the settings.
        prefix: What the names of the variables begin with.
    """
    errors = []
    for name, definition in schema["properties"].items():
        types = definition.get("type", ())
        text = environment.get(f"{prefix}{name.upper()}")
        kind = next((kind for kind in ENVIRONMENT_TYPES if kind in types), None)
        if text is not None and kind and not ENVIRONMENT_TYPES[kind](text):
            errors.append(f"Setting {name} must be of type {kind}.")
    return errors


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


ENVIRONMENT_TYPES: dict[str, Callable[[str], bool]] = {
    "integer": lambda text: re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) is not None,
    "boolean": lambda text: text.lower() in {"true", "1", "yes", "on", "false", "0", "no", "off", ""},
    "object": _is_json_object,
}
"""How the text of an environment variable must read, by the type of the setting."""


def find_errors(config: dict[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Return a line for each invalid setting.

    Args:
        config: The settings, normalized.
        schema: Their JSON schema, with the SDK's own settings.
    """
    errors = [
        f"Setting {first_line(name)} must not be null: set or remove it."
        for name, value in config.items()
        if value is None
    ]
    errors += [
        f"Setting {name} must be a finite number."
        for name, value in config.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    errors += _find_contradictions(config)
    map_errors = [] if errors else list(_find_map_errors(config))
    checked = config  # the SDK's validator adds the defaults
    if map_errors:  # and the SDK's own schema of a map can crash it
        checked = {name: value for name, value in config.items() if name != "stream_maps"}
    for error in JSONSchemaValidator(schema).iter_errors(checked):
        is_named_above = isinstance(error.instance, float) and not math.isfinite(error.instance)
        if not is_named_above and (error.instance is not None or len(error.absolute_path) > 1):
            errors += _explain(error)
    errors += map_errors
    # One line a setting: the first says enough.
    return list({line.split(" must ")[0]: line for line in reversed(errors)}.values())[::-1] or list(
        _find_batch_errors(config)
    )


def _find_contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(config.get("start_date"), str):
        try:
            parse_datetime(config["start_date"])
        except ValueError:
            yield "Setting start_date must be a date-time, such as 2026-01-31T00:00:00Z."
    if config.get("export_ids") and config.get("request_exports"):
        yield "Settings export_ids and request_exports exclude each other: unset one of them."
    if config.get("export_ids") and config.get("changes_only"):
        yield "Settings export_ids and changes_only exclude each other: unset one of them."
    try:
        _ = urlsplit(config["api_url"]).port if isinstance(config.get("api_url"), str) else None
    except ValueError:
        yield f"Setting api_url must be {PATTERNS[URL_PATTERN]}, with a valid port."
    if config.get("flattening_enabled") is True and "flattening_max_depth" not in config:
        yield "Setting flattening_max_depth is required when flattening_enabled is true."


def _find_batch_errors(config: Mapping[str, Any]) -> Iterator[str]:
    batch = config.get("batch_config")
    if batch is None:
        return
    encoding, storage = batch.get("encoding") or {}, batch.get("storage") or {}
    if encoding.get("format") not in {"jsonl", "parquet"}:
        yield "Setting batch_config.encoding.format must be one of jsonl, parquet."
    if encoding.get("compression") == "none":
        yield "Setting batch_config.encoding.compression must be gzip."
    size = batch.get("batch_size", 1)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        yield "Setting batch_config.batch_size must be a whole number of at least 1."
    yield from _find_storage_errors(storage)
    unknown = set(batch) - {"encoding", "storage", "batch_size"}
    if unknown or set(encoding) - {"format", "compression"} or set(storage) - {"root", "prefix", "params"}:
        yield "Setting batch_config has an option that the SDK does not know."
    for extra in sorted({str(encoding.get("format")), urlsplit(str(storage.get("root"))).scheme} & set(PACKAGES)):
        if not importlib.util.find_spec(PACKAGES[extra]):
            package = PACKAGES[extra]
            yield f"Setting batch_config needs the package {package}: run pip install 'tap-dynamic[{extra}]'."


def _find_storage_errors(storage: Mapping[str, Any]) -> Iterator[str]:
    root = str(storage.get("root") or "")
    scheme = urlsplit(root).scheme
    if not root:
        yield "Setting batch_config.storage.root is required: a folder, or a URL such as s3://bucket/folder."
    for name in ("root", "prefix"):
        if re.search(r"[\s#%?]", str(storage.get(name) or "")):
            yield f"Setting batch_config.storage.{name} must not hold blanks, #, % or ?: targets can't open such paths."
    if len(scheme) > 1 and scheme not in {"file", "s3"}:  # one letter: a drive
        yield "Setting batch_config.storage.root must be a folder or a URL that begins with file:// or s3://."
    if scheme == "s3" and not re.match(r"s3://[^/@]+(/|\Z)", root):
        yield "Setting batch_config.storage.root must name a bucket: s3://bucket/folder."
    if not isinstance(storage.get("params") or {}, dict):
        yield "Setting batch_config.storage.params must be of type object."


def _find_map_errors(config: Mapping[str, Any]) -> Iterator[str]:
    """Let the SDK parse the stream maps, as far as it can without the columns of a file."""
    maps = copy.deepcopy({name: config[name] for name in SHAPING_SETTINGS if name in config})
    if not isinstance(maps.get("stream_maps", {}), dict) or not isinstance(maps.get("flattening_max_depth", 0), int):
        return  # the schema names them
    logger = logging.getLogger("singer_sdk.mapper")
    level = logger.level
    logger.setLevel(logging.WARNING)  # the same lines follow when the maps are used
    try:
        PluginMapper(copy.deepcopy(maps), logger).register_raw_stream_schema(
            "exports", SCHEMAS.get_schema("exports"), ["id"]
        )
        for definition in maps.get("stream_maps", {}).values():
            if isinstance(definition, dict):
                definition.pop("__key_properties__", None)  # it can name columns of the file
        mapper = PluginMapper(maps, logger)
        for stream in MODELS:
            mapper.register_raw_stream_schema(stream, {"type": "object", "properties": {}}, None)
    except Exception as error:
        name = "stream_maps" if config.get("stream_maps") else "flattening_max_key_length"
        yield f"Setting {name} is not accepted by the Meltano SDK ({type(error).__name__}). Check its expressions."
    finally:
        logger.setLevel(level)


def _explain(error: ValidationError) -> list[str]:
    """Say which setting is wrong and what it must be, but not what it is."""
    place = ".".join(str(part) for part in error.absolute_path)
    rule, wanted = str(error.validator), cast("Any", error.validator_value)
    schema, given = cast("dict[str, Any]", error.schema), cast("Any", error.instance)
    if rule == "required":
        prefix = f"{place}." if place else ""
        return [f"Setting {prefix}{name} is required." for name in wanted if name not in given]
    if rule == "additionalProperties":
        prefix = f"{place}." if place else ""
        return [
            f"There is no setting {prefix}{first_line(name)}." for name in given if name not in schema["properties"]
        ]
    wishes = {
        "pattern": PATTERNS.get(str(wanted), "of another form"),
        "type": f"of type {wanted if isinstance(wanted, str) else wanted[0]}" if rule == "type" else "",
        "enum": "one of " + ", ".join(str(value) for value in wanted if value) if rule == "enum" else "",
        "exclusiveMinimum": f"greater than {wanted}",
        "maximum": f"at most {wanted}",
    }
    return [f"Setting {place} must be {wishes.get(rule, f'valid ({rule})')}."]
