"""Why a setting is invalid, in words that never contain its value."""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    from jsonschema import ValidationError

Problem = tuple[str, str]
"""A setting, or a part of one such as `export_ids.0`, and what is wrong with it."""
PATTERNS: dict[str, str] = {
    UUID_PATTERN: "a lower-case UUID of 36 characters",
    TOKEN_PATTERN: "a token as Dynamic makes them: dyn_ and then no blanks",
    URL_PATTERN: "a URL that begins with https://",
}
"""What a pattern asks for."""
PACKAGES = {"parquet": "pyarrow", "s3": "s3fs"}
"""What a BATCH format or storage needs, by the name of its extra."""


def describe(problems: Iterable[Problem]) -> list[str]:
    """Write a line for each problem."""
    return [f"Setting {setting} {problem}." for setting, problem in problems]


def find_problems(config: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Problem]:
    """Return the first problem of each invalid setting.

    Args:
        config: The settings, normalized.
        schema: Their JSON schema, with the SDK's own settings.
    """
    problems = [(name, "is required") for name in schema.get("required", ()) if name not in config]
    for name, value in config.items():
        problems += islice(_problems_of(name, value, config, schema["properties"]), 1)
    return problems


def _problems_of(name: str, value: Any, config: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Problem]:
    if name not in definitions:
        yield first_line(name), "does not exist"
    elif value is None:
        yield name, "must not be null: set or remove it"
    elif isinstance(value, float) and not math.isfinite(value):
        yield name, "must be a finite number"
    else:
        kind, rule = RULES.get(name, (type(None), None))
        if rule and isinstance(value, kind):  # first: the SDK's schema of a map crashes where the SDK refuses one
            yield from ((f"{name}{part}", problem) for part, problem in rule(value, config))
        yield from _schema_problems(name, value, definitions[name])


def _schema_problems(name: str, value: Any, definition: Mapping[str, Any]) -> Iterator[Problem]:
    for error in JSONSchemaValidator(definition).iter_errors(value):
        place = ".".join([name, *map(str, error.absolute_path)])
        if error.validator == "required":
            missing = next(
                part for part in cast("Any", error.validator_value) if part not in cast("Any", error.instance)
            )
            yield f"{place}.{missing}", "is required"
        else:
            yield place, f"must be {_requirement(error)}"


def _requirement(error: ValidationError) -> str:
    """Say what a value must be, but not what it is."""
    rule, wanted = str(error.validator), cast("Any", error.validator_value)
    if rule == "type":
        return f"of type {wanted if isinstance(wanted, str) else wanted[0]}"
    if rule == "enum":
        return "one of " + ", ".join(str(value) for value in wanted if value)
    limits = {"exclusiveMinimum": "greater than", "minimum": "at least", "maximum": "at most"}
    if rule in limits:
        return f"{limits[rule]} {wanted}"
    return PATTERNS.get(wanted, "of another form") if rule == "pattern" else f"valid ({rule})"


# --- what a schema can't say

Found = Iterator[tuple[str, str]]
"""Parts of the setting, such as `.encoding.format`, and what is wrong with them."""


def _date_problems(text: str, _: Mapping[str, Any]) -> Found:
    try:
        parse_datetime(text)
    except ValueError:
        yield "", "must be a date-time, such as 2026-01-31T00:00:00Z"


def _url_problems(url: str, _: Mapping[str, Any]) -> Found:
    if not url.startswith(("https://", "http://")):
        return  # the pattern says so
    try:
        parts = urlsplit(url)
        _port = parts.port
    except ValueError:
        yield "", f"must be {PATTERNS[URL_PATTERN]}, with a valid host and port"
        return
    if "@" in parts.netloc:
        yield "", "must not contain a user name or a password"
    if "?" in url or "#" in url:
        yield "", "must not contain a query or a fragment"


def _export_ids_problems(export_ids: list[Any], config: Mapping[str, Any]) -> Found:
    for other in ("request_exports", "changes_only"):
        if export_ids and config.get(other):
            yield "", f"excludes {other}: unset one of them"


def _flattening_problems(is_enabled: bool, config: Mapping[str, Any]) -> Found:  # noqa: FBT001 (the setting)
    if is_enabled and "flattening_max_depth" not in config:
        yield "", "needs flattening_max_depth too"


def _batch_problems(batch: dict[str, Any], _: Mapping[str, Any]) -> Found:
    encoding, storage = batch.get("encoding") or {}, batch.get("storage") or {}
    if not (isinstance(encoding, dict) and isinstance(storage, dict)):
        return  # the schema says so
    if encoding.get("format") not in ("jsonl", "parquet"):
        yield ".encoding.format", "must be one of jsonl, parquet"
    if encoding.get("compression") == "none":
        yield ".encoding.compression", "must be gzip"
    size = batch.get("batch_size", 1)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        yield ".batch_size", "must be a whole number of at least 1"
    yield from _storage_problems(storage)
    unknown = set(batch) - {"encoding", "storage", "batch_size"}
    if unknown or set(encoding) - {"format", "compression"} or set(storage) - {"root", "prefix", "params"}:
        yield "", "has an option that the SDK does not know"
    for extra in sorted({str(encoding.get("format")), _scheme_of(str(storage.get("root")))} & set(PACKAGES)):
        if not importlib.util.find_spec(PACKAGES[extra]):
            yield "", f"needs the package {PACKAGES[extra]}: run pip install 'tap-dynamic[{extra}]'"


def _scheme_of(root: str) -> str:
    match = re.match(r"([a-z][a-z0-9+.-]+):", root, re.IGNORECASE)  # one letter is a drive
    return match[1].lower() if match else ""


def _storage_problems(storage: Mapping[str, Any]) -> Found:
    root = str(storage.get("root") or "")
    scheme = _scheme_of(root)
    if not root:
        yield ".storage.root", "is required: a folder, or a URL such as s3://bucket/folder"
    for name in ("root", "prefix"):
        if re.search(r"[\s#%?]", str(storage.get(name) or "")):
            yield f".storage.{name}", "must not contain blanks, #, % or ?: targets can't open such paths"
    if scheme not in {"", "file", "s3"}:
        yield ".storage.root", "must be a folder or a URL that begins with file:// or s3://"
    if scheme == "s3" and not re.match(r"s3://[^/@]+(/|\Z)", root):
        yield ".storage.root", "must name a bucket: s3://bucket/folder"
    if not isinstance(storage.get("params") or {}, dict):
        yield ".storage.params", "must be of type object"


def _map_problems(stream_maps: dict[str, Any], config: Mapping[str, Any]) -> Found:
    maps_of_rows = [m for name, m in stream_maps.items() if name != "exports" and isinstance(m, dict)]
    if config.get("changes_only") and any("__key_properties__" in stream_map for stream_map in maps_of_rows):
        yield "", "must not set __key_properties__ with changes_only: rows are compared by the key of the file"
    yield from _mapper_problems(config)


def _flattening_length_problems(_: int, config: Mapping[str, Any]) -> Found:
    if not config.get("stream_maps"):
        yield from _mapper_problems(config)


def _mapper_problems(config: Mapping[str, Any]) -> Found:
    """Let the SDK parse the stream maps, as far as it can without the columns of a file."""
    settings = {name: config[name] for name in SHAPING_SETTINGS if config.get(name) is not None}
    if not isinstance(settings.get("flattening_max_depth", 0), int):
        return  # the schema says so
    logger = logging.getLogger("singer_sdk.mapper")
    level = logger.level
    logger.setLevel(logging.WARNING)  # the same lines follow when the maps are used
    try:
        PluginMapper(copy.deepcopy(settings), logger).register_raw_stream_schema(
            "exports", SCHEMAS.get_schema("exports"), ["id"]
        )
        maps = copy.deepcopy(settings)
        for definition in maps.get("stream_maps", {}).values():
            if isinstance(definition, dict):
                definition.pop("__key_properties__", None)  # it can name columns of the file
        mapper = PluginMapper(maps, logger)
        for stream in MODELS:
            mapper.register_raw_stream_schema(stream, {"type": "object", "properties": {}}, None)
    except Exception as error:
        yield "", f"is not accepted by the Meltano SDK ({type(error).__name__}). Check its expressions"
    finally:
        logger.setLevel(level)


RULES: dict[str, tuple[type, Callable[[Any, Mapping[str, Any]], Found]]] = {
    "start_date": (str, _date_problems),
    "api_url": (str, _url_problems),
    "export_ids": (list, _export_ids_problems),
    "flattening_enabled": (bool, _flattening_problems),
    "flattening_max_key_length": (int, _flattening_length_problems),
    "stream_maps": (dict, _map_problems),
    "batch_config": (dict, _batch_problems),
}
"""The type that a rule applies to, and the rule."""


# --- the environment


def find_environment_problems(
    environment: Mapping[str, str], schema: Mapping[str, Any], prefix: str
) -> Iterator[Problem]:
    """Yield the settings whose environment variable the SDK would misread, or fail to read.

    Args:
        environment: The environment.
        schema: The JSON schema of the settings.
        prefix: What the names of the variables begin with.
    """
    for name, definition in schema["properties"].items():
        text = environment.get(f"{prefix}{name.upper()}")
        kind = next((kind for kind in ENVIRONMENT_TYPES if kind in definition.get("type", ())), None)
        if text is not None and kind and not ENVIRONMENT_TYPES[kind](text):
            yield name, f"must be of type {kind}"
    level = environment.get(f"{prefix}LOGLEVEL") or environment.get("LOGLEVEL")
    if level is not None and level.upper() not in LOG_LEVELS:
        yield "loglevel", f"must be one of {', '.join(LOG_LEVELS)}"


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


ENVIRONMENT_TYPES: dict[str, Callable[[str], bool]] = {
    "integer": lambda text: re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) is not None,
    "boolean": lambda text: text.lower() in {"true", "1", "yes", "on", "false", "0", "no", "off", ""},
    "object": _is_json_object,
}
"""How the text of an environment variable must read, by the type of the setting."""
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
