"""Why a setting is invalid, in words that never contain its value."""

from __future__ import annotations

import copy
import importlib.util
import logging
import math
from itertools import islice
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from singer_sdk.mapper import PluginMapper
from singer_sdk.plugin_base import JSONSchemaValidator

from tap_dynamic.api.exports import MODELS
from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.redaction import first_line
from tap_dynamic.schemas import SCHEMAS
from tap_dynamic.settings import SHAPING_SETTINGS, TOKEN_PATTERN, URL_PATTERN, UUID_PATTERN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from jsonschema import ValidationError

Problem = tuple[str, str]
"""A setting, or a part of one such as `export_ids.0`, and what is wrong with it."""
# One letter before a colon is a drive.
ROOT_PATTERN = r"^(s3://[^/@\s#%?]+(/[^\s#%?]*)?|(file://|(?![A-Za-z][A-Za-z0-9+.-]+:))[^\s#%?]+)\Z"
PREFIX_PATTERN = r"^[^\s#%?]*\Z"
PATTERNS: dict[str, str] = {
    UUID_PATTERN: "a lower-case UUID of 36 characters",
    TOKEN_PATTERN: "a token as Dynamic makes them: dyn_ and then no blanks",
    URL_PATTERN: "a URL such as https://host/path, without user name, query or fragment",
    ROOT_PATTERN: "a folder, or a URL such as s3://bucket/folder, without blanks, #, % or ?: targets can't open those",
    PREFIX_PATTERN: "without blanks, #, % or ?: targets can't open such paths",
}
"""What a pattern asks for."""
PARSERS: dict[str, tuple[Callable[[str], object], str]] = {
    "start_date": (parse_datetime, "a date-time, such as 2026-01-31T00:00:00Z"),
    "api_url": (lambda url: urlsplit(url).port, PATTERNS[URL_PATTERN]),
}
"""What raises a ValueError where a text that fits its schema is invalid, and what is asked for."""
STRICTER_SCHEMAS: dict[str, Any] = {
    "batch_config": {
        "type": "object",
        "required": ["encoding", "storage"],
        "properties": {
            "encoding": {
                "type": "object",
                "required": ["format"],
                "properties": {"format": {"enum": ["jsonl", "parquet"]}, "compression": {"enum": ["gzip"]}},
                "additionalProperties": False,
            },
            "storage": {
                "type": "object",
                "required": ["root"],
                "properties": {
                    "root": {"type": "string", "pattern": ROOT_PATTERN},
                    "prefix": {"type": ["string", "null"], "pattern": PREFIX_PATTERN},
                    "params": {"type": ["object", "null"]},
                },
                "additionalProperties": False,
            },
            "batch_size": {"type": "integer", "minimum": 1},
        },
        "additionalProperties": False,
    },
    # `PluginMapper` refuses the rest; the SDK's own schema of maps is malformed.
    "stream_maps": {
        "type": "object",
        "additionalProperties": {
            "type": ["object", "string", "null"],
            "properties": {"__key_properties__": {"type": ["array", "null"], "items": {"type": "string"}}},
        },
    },
}
"""In place of the SDK's schemas, which accept what fails later."""


def describe(problems: Iterable[Problem]) -> list[str]:
    """Write a line for each problem."""
    return [f"Setting {setting} {problem}." for setting, problem in problems]


def find_problems(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Problem]:
    """Return the first problem of each invalid setting; of contradictions only where each is valid by itself."""
    problems = [(name, "is required") for name in schema.get("required", ()) if name not in config]
    for name, value in config.items():
        problems += islice(_problems_of(name, value, schema["properties"]), 1)
    return problems or _conflicts(config) or _refusals(config)


def _problems_of(name: str, value: Any, definitions: Mapping[str, Any]) -> Iterator[Problem]:
    if name not in definitions:
        yield first_line(name), "does not exist"
    elif value is None:
        yield name, "must not be null: set or remove it"
    elif isinstance(value, float) and not math.isfinite(value):
        yield name, "must be a finite number"
    else:
        for error in JSONSchemaValidator(STRICTER_SCHEMAS.get(name, definitions[name])).iter_errors(value):
            yield ".".join([name, *map(str, error.absolute_path)]), _requirement(error)
        if name in PARSERS:
            parse, wanted = PARSERS[name]
            try:
                parse(value)
            except ValueError:
                yield name, f"must be {wanted}"


def _requirement(error: ValidationError) -> str:
    """Say what a value must be, but not what it is."""
    rule, wanted = str(error.validator), cast("Any", error.validator_value)
    limits = {"exclusiveMinimum": "greater than", "minimum": "at least", "maximum": "at most"}
    if rule == "required":
        return f"must have {next(part for part in wanted if part not in cast('Any', error.instance))}"
    if rule == "additionalProperties":
        return "has an option that the SDK does not know"
    if rule == "type":
        return f"must be of type {wanted if isinstance(wanted, str) else wanted[0]}"
    if rule == "enum":
        return f"must be one of {', '.join(str(value) for value in wanted if value)}"
    if rule in limits:
        return f"must be {limits[rule]} {wanted}"
    return f"must be {PATTERNS.get(str(wanted), f'valid ({rule})')}"


def _conflicts(config: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong between settings that are valid by themselves."""
    named, changes_only, maps = config.get("export_ids"), config.get("changes_only"), config.get("stream_maps", {})
    is_keyed = any("__key_properties__" in (maps[name] or ()) for name in maps if name != "exports")
    lacks_depth = config.get("flattening_enabled") and "flattening_max_depth" not in config
    batch = config.get("batch_config") or {"encoding": {"format": "jsonl"}, "storage": {"root": ""}}
    lacks_pyarrow = batch["encoding"]["format"] == "parquet" and not importlib.util.find_spec("pyarrow")
    lacks_s3fs = batch["storage"]["root"].startswith("s3://") and not importlib.util.find_spec("s3fs")
    rules = (
        ("export_ids", named and config.get("request_exports"), "excludes request_exports: unset one of them"),
        ("export_ids", named and changes_only, "excludes changes_only: unset one of them"),
        ("flattening_enabled", lacks_depth, "needs flattening_max_depth too"),
        (
            "stream_maps",
            changes_only and is_keyed,
            "must not set __key_properties__ with changes_only: rows are compared by the key of the file",
        ),
        ("batch_config", lacks_pyarrow, "needs the package pyarrow: run pip install 'tap-dynamic[parquet]'"),
        ("batch_config", lacks_s3fs, "needs the package s3fs: run pip install 'tap-dynamic[s3]'"),
    )
    return [(setting, problem) for setting, applies, problem in rules if applies]


def _refusals(config: Mapping[str, Any]) -> list[Problem]:
    """Let the SDK parse the stream maps, as far as it can without the columns of a file."""
    logger = logging.getLogger("singer_sdk.mapper")
    try:
        settings = copy.deepcopy({name: config[name] for name in SHAPING_SETTINGS if name in config})
        PluginMapper(settings, logger).register_raw_stream_schema("exports", SCHEMAS.get_schema("exports"), ["id"])
        for definition in settings.get("stream_maps", {}).values():
            if isinstance(definition, dict):
                definition.pop("__key_properties__", None)  # it can name columns of the file
        mapper = PluginMapper(settings, logger)
        for model in MODELS:
            mapper.register_raw_stream_schema(model, {"type": "object", "properties": {}}, None)
    except Exception as error:
        name = "stream_maps" if config.get("stream_maps") else "flattening_max_key_length"
        return [(name, f"is not accepted by the Meltano SDK ({type(error).__name__}). Check its expressions")]
    return []
