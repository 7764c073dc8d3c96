"""Rules of settings: what is normalized, what is valid, and the one problem of each setting that is not."""

from __future__ import annotations

import copy
import importlib.util
import math
from typing import Any

import pytest

from sandbox.server import ENVIRONMENT_ID
from tap_dynamic.settings import CONFIG_SCHEMA, normalize, read_environment
from tap_dynamic.singer.invalid_settings import describe, find_problems
from tap_dynamic.tap import TapDynamic

SECRET = "deadbeefcafe"  # noqa: S105 (nothing's token)
TOKEN = f"dyn_{SECRET}"
CONFIG: dict[str, Any] = {
    "environment_id": ENVIRONMENT_ID,
    "api_token": TOKEN,
    **{name: schema["default"] for name, schema in CONFIG_SCHEMA["properties"].items() if "default" in schema},
}
JSONL: dict[str, Any] = {"format": "jsonl", "compression": "gzip"}
FOLDER: dict[str, Any] = {"root": "file:///tmp/batches"}
BATCH: dict[str, Any] = {"encoding": JSONL, "storage": FOLDER}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema of all settings, with those of the SDK."""
    complete = copy.deepcopy(CONFIG_SCHEMA)
    TapDynamic.append_builtin_config(complete)
    return complete


@pytest.fixture(autouse=True)
def missing_packages(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Packages of extras that count as missing; all others count as installed."""
    missing: set[str] = set()
    find_spec = importlib.util.find_spec

    def find(name: str) -> object:
        return (None if name in missing else object()) if name in {"pyarrow", "s3fs"} else find_spec(name)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    return missing


def errors_of(settings: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """Normalize settings, and say why they are invalid."""
    config = {**CONFIG, **copy.deepcopy(settings)}
    normalize(config, schema)
    return describe(find_problems(config, schema))


# --- what is normalized

NORMALIZED: list[tuple[str, Any, Any]] = [
    # A mounted secret often ends in a newline.
    ("environment_id", f"{ENVIRONMENT_ID}\n", ENVIRONMENT_ID),
    ("api_token", f" \t{TOKEN}\r\n", TOKEN),
    ("api_url", "\nhttps://app.example/v0 ", "https://app.example/v0"),
    # The environment holds numbers as text.
    ("poll_interval", "5", 5.0),
    ("poll_interval", "0.5", 0.5),
    ("export_timeout", 60, 60),
    # Nothing else is touched.
    ("start_date", " 2026-01-01 ", " 2026-01-01 "),
    ("snapshots", "latest ", "latest "),
    ("poll_interval", "soon", "soon"),
    ("api_token", 5, 5),
    ("api_token", None, None),
    ("export_ids", [f"{ENVIRONMENT_ID}\n"], [f"{ENVIRONMENT_ID}\n"]),
    ("unknown", " x ", " x "),
]


@pytest.mark.parametrize(("name", "value", "expected"), NORMALIZED)
def test_how_a_setting_is_normalized(schema: dict[str, Any], name: str, value: Any, expected: Any) -> None:
    config = {name: value}
    normalize(config, schema)
    assert config[name] == expected
    assert type(config[name]) is type(expected)


# --- what is valid

VALID: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "blanks around credentials": {
        "environment_id": f" {ENVIRONMENT_ID}\n",
        "api_token": f"{TOKEN}\n",
        "api_url": "https://app.example/v0\n",
    },
    "an API on this machine": {"api_url": "http://127.0.0.1:8080"},
    "an IPv6 address": {"api_url": "http://[::1]:8080/api/v0"},
    "an IPv6 address without a port": {"api_url": "https://[2001:db8::1]"},
    "deletions of no rows": {"max_deleted_percent": 0},
    "deletions of all rows": {"max_deleted_percent": "100"},
    "deletions of some rows": {"max_deleted_percent": 12.5},
    "exports": {"export_ids": [ENVIRONMENT_ID]},
    "an empty list of exports": {"export_ids": [], "request_exports": True, "changes_only": True},
    "requested exports": {"request_exports": True, "changes_only": True},
    "all snapshots": {"snapshots": "all", "changes_only": True},
    "a date": {"start_date": "2026-01-31"},
    "a date-time": {"start_date": "2026-01-31T00:00:00Z"},
    "a date-time with an offset": {"start_date": "2026-01-31T00:00:00+02:00"},
    "a day": {"poll_interval": 86_400, "export_timeout": 86_400, "connect_timeout": 86_400, "read_timeout": 86_400},
    "short times": {"poll_interval": 0.001, "read_timeout": 1},
    "times as text": {"poll_interval": "1", "export_timeout": "2.5"},
    "a batch": {"batch_config": BATCH},
    "a batch without compression": {"batch_config": {**BATCH, "encoding": {"format": "jsonl"}}},
    "a batch of one": {"batch_config": {**BATCH, "batch_size": 1}},
    "a batch with a prefix": {"batch_config": {**BATCH, "storage": {**FOLDER, "prefix": "x"}}},
    "parquet": {"batch_config": {**BATCH, "encoding": {"format": "parquet", "compression": "gzip"}}},
    "a bucket": {"batch_config": {**BATCH, "storage": {"root": "s3://bucket/folder"}}},
    "flattening": {"flattening_enabled": True, "flattening_max_depth": 1},
    "flattening that is off": {"flattening_enabled": False},
    "a stream map": {"stream_maps": {"users": {"email": "md5(email)", "x": "'a'", "__filter__": "id != '1'"}}},
    "a stream map that removes a column": {"stream_maps": {"users": {"email": "__NULL__"}}},
    "a stream map that removes a stream": {"stream_maps": {"visits": "__NULL__", "exports": None}},
    "a stream map with a key": {"stream_maps": {"users": {"__key_properties__": ["email"]}}},
    "a stream map with a key of the exports": {
        "changes_only": True,
        "stream_maps": {"exports": {"__key_properties__": ["id"]}},
    },
    "a stream map with an alias": {"stream_maps": {"users": {"__alias__": "people"}}},
    "a stream map of all streams": {"stream_maps": {"*": {"x": "1"}}},
    "a stream map with settings": {
        "stream_maps": {"users": {"x": "config['salt'] + email"}},
        "stream_map_config": {"salt": "x"},
    },
}


@pytest.mark.parametrize("settings", VALID.values(), ids=VALID)
def test_valid_settings(schema: dict[str, Any], settings: dict[str, Any]) -> None:
    assert errors_of(settings, schema) == []


# --- what is invalid

INVALID: list[tuple[dict[str, Any], str]] = [
    # Null, wherever it is.
    *(({name: None}, f"Setting {name} must not be null") for name in sorted(CONFIG)),
    ({"export_ids": None}, "Setting export_ids must not be null"),
    ({"stream_maps": None}, "Setting stream_maps must not be null"),
    ({"batch_config": None}, "Setting batch_config must not be null"),
    ({"flattening_max_depth": None, "flattening_enabled": True}, "Setting flattening_max_depth must not be null"),
    ({"export_ids": [None]}, "Setting export_ids"),
    ({"export_ids": [ENVIRONMENT_ID, None]}, "Setting export_ids"),
    # Numbers that are none, or infinite.
    *(({name: math.nan}, f"Setting {name} must be a finite number") for name in ("poll_interval", "export_timeout")),
    *(({name: math.inf}, f"Setting {name} must be a finite number") for name in ("connect_timeout", "read_timeout")),
    ({"poll_interval": -math.inf}, "Setting poll_interval must be a finite number"),
    ({"poll_interval": "nan"}, "Setting poll_interval must be a finite number"),
    ({"poll_interval": "1e999"}, "Setting poll_interval must be a finite number"),
    # Times.
    *(({name: 86_401}, f"Setting {name} must be at most 86400") for name in ("poll_interval", "export_timeout")),
    *(({name: 86_401}, f"Setting {name} must be at most 86400") for name in ("connect_timeout", "read_timeout")),
    ({"read_timeout": "86400.5"}, "Setting read_timeout must be at most 86400"),
    ({"poll_interval": 10**400}, "Setting poll_interval must be at most 86400"),
    ({"connect_timeout": 0}, "Setting connect_timeout must be greater than 0"),
    ({"connect_timeout": "-1"}, "Setting connect_timeout must be greater than 0"),
    ({"poll_interval": True}, "Setting poll_interval must be of type number"),
    ({"poll_interval": []}, "Setting poll_interval must be of type number"),
    ({"poll_interval": ""}, "Setting poll_interval must be of type number"),
    ({"max_deleted_percent": -1}, "Setting max_deleted_percent must be at least 0"),
    ({"max_deleted_percent": "100.5"}, "Setting max_deleted_percent must be at most 100"),
    ({"max_deleted_percent": "50%"}, "Setting max_deleted_percent must be of type number"),
    # Dates: partial, relative, impossible.
    *(
        ({"start_date": text}, "Setting start_date must be a date-time")
        for text in ("today", "yesterday", "1 day ago", "P1D", "12:30:00", "2021-01", "2021-W01", "2021-W01-1")
    ),
    *(
        ({"start_date": text}, "Setting start_date must be a date-time")
        for text in ("2021-13-01", "2021-01-02T25:00:00Z", "2021-01-02T00:00:00+24:00", " ", "2021-01-02\n", SECRET)
    ),
    ({"start_date": 2021}, "Setting start_date must be"),
    # Text.
    ({"environment_id": SECRET}, "Setting environment_id must be a lower-case UUID"),
    ({"environment_id": ENVIRONMENT_ID.replace("-", "")}, "Setting environment_id must be a lower-case UUID"),
    ({"environment_id": 5}, "Setting environment_id must be of type string"),
    ({"api_token": SECRET}, "Setting api_token must be a token"),
    ({"api_token": f"Bearer {TOKEN}"}, "Setting api_token must be a token"),
    ({"api_token": "dyn_"}, "Setting api_token must be a token"),
    ({"api_token": f"{TOKEN}\u00e9"}, "Setting api_token must be a token"),
    ({"api_token": f"{TOKEN}\nX-Header: x"}, "Setting api_token must be a token"),
    ({"api_token": ""}, "Setting api_token must be a token"),
    ({"api_token": [TOKEN]}, "Setting api_token must be of type string"),
    *(
        ({"api_url": url}, "Setting api_url must be a URL")
        for url in ("", "app.example", "https://", "//h", "https://a b", "https://[::1", "https://[x]", "https://::1")
    ),
    *(
        ({"api_url": url}, "Setting api_url must be a URL such as https://host/path, without user name, query")
        for url in (f"https://h?x={SECRET}", "https://h#x", "http://h/v0?", f"https://[::1]:80/v0?{SECRET}")
    ),
    *(
        ({"api_url": url}, "Setting api_url must be a URL")
        for url in (f"https://user:{SECRET}@h", f"https://{SECRET}@h/v0?x", f"http://user:{SECRET}@[::1]:80")
    ),
    ({"api_url": "https://h:99999"}, "Setting api_url must be a URL"),
    # Choices.
    ({"snapshots": ""}, "Setting snapshots must be one of latest, all"),
    ({"snapshots": ["latest"]}, "Setting snapshots must be"),
    ({"request_exports": 1}, "Setting request_exports must be of type boolean"),
    ({"changes_only": "true"}, "Setting changes_only must be of type boolean"),
    ({"emit_activate_version_messages": "no"}, "Setting emit_activate_version_messages must be of type boolean"),
    ({"export_ids": ENVIRONMENT_ID}, "Setting export_ids must be of type array"),
    ({"export_ids": [ENVIRONMENT_ID, SECRET]}, "Setting export_ids.1 must be a lower-case UUID"),
    ({SECRET[:4]: SECRET}, "Setting dead does not exist."),
    # Contradictions.
    ({"export_ids": [ENVIRONMENT_ID], "changes_only": True}, "Setting export_ids excludes changes_only"),
    # Batches.
    ({"batch_config": []}, "Setting batch_config must be of type object"),
    ({"batch_config": {"storage": FOLDER}}, "Setting batch_config must have encoding."),
    ({"batch_config": {**BATCH, "encoding": {}}}, "Setting batch_config.encoding must have format."),
    ({"batch_config": {**BATCH, "encoding": {"format": "csv"}}}, "Setting batch_config.encoding.format must be one of"),
    ({"batch_config": {**BATCH, "encoding": {"format": ["jsonl"]}}}, "Setting batch_config.encoding.format must be"),
    ({"batch_config": {**BATCH, "encoding": {**JSONL, "compression": "zip"}}}, "Setting batch_config.encoding.comp"),
    ({"batch_config": {"encoding": JSONL}}, "Setting batch_config must have storage."),
    ({"batch_config": {**BATCH, "storage": {}}}, "Setting batch_config.storage must have root."),
    ({"batch_config": {**BATCH, "storage": {"root": ""}}}, "Setting batch_config.storage.root"),
    ({"batch_config": {**BATCH, "storage": {"root": None}}}, "Setting batch_config.storage.root"),
    ({"batch_config": {**BATCH, "storage": {"root": f"ftp://{SECRET}@h/x"}}}, "Setting batch_config.storage.root"),
    *(
        ({"batch_config": {**BATCH, "batch_size": size}}, "Setting batch_config.batch_size must be")
        for size in (0, -1, 1.5, True, "5", None, [1], math.nan)
    ),
    ({"batch_config": {**BATCH, "other": SECRET}}, "Setting batch_config has an option"),
    ({"batch_config": {**BATCH, "storage": {**FOLDER, "key": SECRET}}}, "Setting batch_config.storage has an option"),
    # Stream maps and flattening.
    ({"stream_maps": []}, "Setting stream_maps must be of type object"),
    ({"stream_maps": {"users": []}}, "Setting stream_maps"),
    ({"stream_maps": {"users": SECRET}}, "Setting stream_maps"),
    ({"stream_maps": {"users": {"email": f"{SECRET} +"}}}, "Setting stream_maps is not accepted"),
    ({"stream_maps": {"users": {"__filter__": f"email == '{SECRET}"}}}, "Setting stream_maps is not accepted"),
    ({"stream_maps": {"users": {"x": 5}}}, "Setting stream_maps is not accepted"),
    ({"stream_maps": {"usres": {"__else__": 5, "x": 5}, "users": {"__else__": 5}}}, "Setting stream_maps is not"),
    ({"stream_maps": {"users": {"__key_properties__": "email"}}}, "Setting stream_maps.users.__key_properties__ must"),
    ({"stream_map_config": []}, "Setting stream_map_config must be of type object"),
    (
        {"changes_only": True, "stream_maps": {"users": {"__key_properties__": ["email"]}}},
        "Setting stream_maps must not set __key_properties__ with changes_only",
    ),
    ({"stream_maps": {"__else__": 5}}, "Setting stream_maps"),
    ({"flattening_enabled": True}, "Setting flattening_enabled needs flattening_max_depth"),
    ({"flattening_enabled": "true", "flattening_max_depth": 1}, "Setting flattening_enabled must be of type boolean"),
    ({"flattening_enabled": True, "flattening_max_depth": "x"}, "Setting flattening_max_depth must be"),
]


@pytest.mark.parametrize(("settings", "message"), INVALID, ids=lambda value: ascii(value)[:60])
def test_an_invalid_setting_is_one_line_without_its_value(
    schema: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    (error,) = errors_of(settings, schema)
    assert error.startswith(message)
    assert SECRET not in error
    assert "\n" not in error


def test_a_stream_map_that_is_nested_too_deep(schema: dict[str, Any]) -> None:
    nested: dict[str, Any] = {}
    for _ in range(900):
        nested = {"x": nested}
    (problem,) = find_problems({**CONFIG, "stream_maps": {"users": nested}}, schema)
    assert problem[0] == "stream_maps"


REQUIRED = ["environment_id", "api_token"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_setting_that_is_missing(schema: dict[str, Any], name: str) -> None:
    config = {setting: value for setting, value in CONFIG.items() if setting != name}
    assert find_problems(config, schema) == [(name, "is required")]


def test_without_settings_both_required_ones_are_named(schema: dict[str, Any]) -> None:
    assert find_problems({}, schema) == [(name, "is required") for name in REQUIRED]


PACKAGES: list[tuple[dict[str, Any], set[str], str | None]] = [
    # (batch_config, missing packages, the extra that is named)
    ({**BATCH, "encoding": {"format": "parquet"}}, {"pyarrow"}, "parquet"),
    ({**BATCH, "storage": {"root": "s3://b"}}, {"s3fs"}, "s3"),
    ({**BATCH, "encoding": {"format": "parquet"}}, {"s3fs"}, None),
    ({**BATCH, "storage": {"root": "s3://b"}}, {"pyarrow"}, None),
    (BATCH, {"pyarrow", "s3fs"}, None),
    ({**BATCH, "storage": {"root": "s3"}}, {"s3fs"}, None),  # a folder
]


@pytest.mark.parametrize(("batch", "missing", "extra"), PACKAGES)
def test_a_batch_whose_package_is_missing(
    schema: dict[str, Any], missing_packages: set[str], batch: dict[str, Any], missing: set[str], extra: str | None
) -> None:
    missing_packages |= missing
    errors = errors_of({"batch_config": batch}, schema)
    assert [f"tap-dynamic[{extra}]" in error for error in errors] == ([True] if extra else [])


def test_every_invalid_setting_is_named(schema: dict[str, Any]) -> None:
    settings = {"api_token": SECRET, "read_timeout": 0, "snapshots": "x", "start_date": "now", "export_ids": ["x"]}
    errors = errors_of(settings, schema)
    assert len(errors) == len(settings)
    for name in settings:
        assert any(f"Setting {name}" in error for error in errors)


def test_settings_are_left_as_they_are(schema: dict[str, Any]) -> None:
    config = {**CONFIG, "stream_maps": {"users": {"__key_properties__": ["id"]}}, "batch_config": copy.deepcopy(BATCH)}
    before = copy.deepcopy(config)
    find_problems(config, schema)
    assert config == before


# --- what they are

MEANING: dict[str, tuple[str, Any]] = {
    # The type, and the default.
    "environment_id": ("string", None),
    "api_token": ("string", None),
    "export_ids": ("array", None),
    "request_exports": ("boolean", False),
    "changes_only": ("boolean", False),
    "snapshots": ("string", "latest"),
    "start_date": ("string", None),
    "poll_interval": ("number", 5),
    "export_timeout": ("number", 3600),
    "connect_timeout": ("number", 10),
    "read_timeout": ("number", 60),
    "api_url": ("string", "https://app.dynamicauth.com/api/v0"),
    "emit_activate_version_messages": ("boolean", False),
    "max_deleted_percent": ("number", 50),
}


def test_the_settings_and_their_defaults() -> None:
    properties = CONFIG_SCHEMA["properties"]
    assert set(properties) == set(MEANING)
    for name, (kind, default) in MEANING.items():
        assert kind in properties[name]["type"], name
        assert properties[name].get("default") == default, name
    assert CONFIG_SCHEMA["required"] == REQUIRED
    assert [name for name in MEANING if properties[name].get("secret")] == ["api_token"]


ENVIRONMENT: list[tuple[str, str, Any]] = [
    ("STREAM_MAPS", '{"users": {}}', {"users": {}}),
    ("STREAM_MAP_CONFIG", '{"x": 0.5}', {"x": 0.5}),
    ("FLATTENING_MAX_DEPTH", " 2", 2),
    ("REQUEST_EXPORTS", "True", True),
    ("REQUEST_EXPORTS", "on", True),
    ("REQUEST_EXPORTS", "0", False),
    ("REQUEST_EXPORTS", "", False),
    ("EXPORT_IDS", '["a"]', ["a"]),
    ("EXPORT_IDS", "a,b", ["a", "b"]),
    ("SNAPSHOTS", "5", "5"),
    ("POLL_INTERVAL", "5", "5"),  # `normalize` reads it
]


@pytest.mark.parametrize(("name", "text", "value"), ENVIRONMENT)
def test_what_is_read_from_the_environment(schema: dict[str, Any], name: str, text: str, value: Any) -> None:
    variables = {f"TAP_DYNAMIC_{name}": text, "TAP_DYNAMIC_SOMETHING_ELSE": "{", name: text}
    assert read_environment(variables, schema) == {name.lower(): value}


MISREAD = [
    # (variable, text, type of the setting)
    ("STREAM_MAPS", "{", "object"),
    ("STREAM_MAPS", "[]", "object"),
    ("STREAM_MAPS", "", "object"),
    ("STREAM_MAPS", '{"x":' * 100_000, "object"),
    ("STREAM_MAP_CONFIG", '{"x": NaN}', "object"),
    ("BATCH_CONFIG", "notjson", "object"),
    ("CHANGES_ONLY", "ture", "boolean"),
    ("CHANGES_ONLY", " true", "boolean"),
    ("FLATTENING_MAX_DEPTH", "abc", "integer"),
    ("FLATTENING_MAX_DEPTH", "1.5", "integer"),
]


@pytest.mark.parametrize(("name", "text", "kind"), MISREAD, ids=lambda value: value[:20])
def test_what_the_sdk_would_misread_from_the_environment(
    schema: dict[str, Any], name: str, text: str, kind: str
) -> None:
    settings = read_environment({f"TAP_DYNAMIC_{name}": text}, schema)
    assert errors_of(settings, schema) == [f"Setting {name.lower()} must be of type {kind}."]
