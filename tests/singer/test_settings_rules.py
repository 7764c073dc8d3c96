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
    "an IPv6 address without a port": {"api_url": "https://[2001:db8::1]", "max_deleted_percent": 0},
    "exports and a date": {"export_ids": [ENVIRONMENT_ID], "start_date": "2026-01-31", "max_deleted_percent": "100"},
    "an empty list of exports": {"export_ids": [], "request_exports": True, "changes_only": True},
    "all snapshots": {"snapshots": "all", "changes_only": True, "start_date": "2026-01-31T00:00:00+02:00"},
    "a day": {"poll_interval": 86_400, "export_timeout": 86_400, "connect_timeout": 86_400, "read_timeout": 86_400},
    "short times": {"poll_interval": 0.001, "read_timeout": 1, "export_timeout": "2.5"},
    "a batch": {"batch_config": BATCH},
    "a batch of one": {"batch_config": {**BATCH, "encoding": {"format": "jsonl"}, "batch_size": 1}},
    "parquet": {"batch_config": {**BATCH, "encoding": {"format": "parquet", "compression": "gzip"}}},
    "flattening": {"flattening_enabled": True, "flattening_max_depth": 1},
    "flattening that is off": {"flattening_enabled": False},
    "a stream map": {"stream_maps": {"users": {"email": "md5(email)", "x": "'a'", "__filter__": "id != '1'"}}},
    "stream maps that remove": {"stream_maps": {"users": {"email": "__NULL__"}, "visits": "__NULL__", "exports": None}},
    "a stream map with a key": {"stream_maps": {"users": {"__key_properties__": ["email"], "__alias__": "people"}}},
    "a stream map with a key of the exports": {
        "changes_only": True,
        "stream_maps": {"exports": {"__key_properties__": ["id"]}, "users": None},
    },
    "a stream map of all streams": {
        "stream_maps": {"*": {"x": "config['salt'] + '1'"}, "__else__": "__NULL__"},
        "stream_map_config": {"salt": "x"},
    },
}


@pytest.mark.parametrize("settings", VALID.values(), ids=VALID)
def test_valid_settings(schema: dict[str, Any], settings: dict[str, Any]) -> None:
    config = {**CONFIG, **settings}
    normalize(config, schema)
    before = copy.deepcopy(config)
    assert find_problems(config, schema) == []
    assert config == before


# --- what is invalid: each table has the values of a message

NUMBERS: list[tuple[str, list[Any]]] = [
    ("must be a finite number", [math.nan, math.inf, -math.inf, "nan", "1e999"]),
    ("must be at most 86400", [86_401, "86400.5", 10**400]),
    ("must be greater than 0", [0, "-1"]),
    ("must be of type number", [True, [], "", "soon"]),
    ("must not be null", [None]),
]
TEXTS: dict[str, list[tuple[str, list[Any]]]] = {
    "start_date": [
        ("must be a date-time", ["now", "1 day ago", "P1D", "12:30:00", "2021", "2021-W01-1", "2021-01-01/2021-02-01"]),
        ("must be a date-time", ["2021-02-30", "2021-01-02T25:00:00Z", "", " ", "2021-01-02\n", SECRET]),
        ("must be of type string", [2021]),
    ],
    "environment_id": [
        (
            "must be a lower-case UUID",
            [SECRET, ENVIRONMENT_ID.replace("-", ""), ENVIRONMENT_ID.replace("1", "A")],
        ),
        ("must be of type string", [5]),
        ("must not be null", [None]),
    ],
    "api_token": [
        ("must be a token", [SECRET, f"Bearer {TOKEN}", "dyn_", f"{TOKEN}\u00e9", f"{TOKEN}\nX-Header: x", ""]),
        ("must be of type string", [[TOKEN]]),
    ],
    "api_url": [
        (
            "must be a URL",
            ["", "app.example", "ftp://h", "https://", "//h", "https://a b", "https://[::1", "https://[x]"],
        ),
        ("must be a URL", ["https://::1", "https://h:99999", f"https://h?x={SECRET}", "https://h#x", "http://h/v0?"]),
        ("must be a URL", [f"https://user:{SECRET}@h", f"https://{SECRET}@h/v0", f"http://user:{SECRET}@[::1]:80"]),
    ],
    "max_deleted_percent": [
        ("must be at least 0", [-1]),
        ("must be at most 100", ["100.5"]),
        ("must be of type number", ["50%"]),
    ],
    "snapshots": [("must be one of latest, all", ["", "newest"]), ("must be", [["latest"]])],
    "request_exports": [("must be of type boolean", [1, "yes"])],
    "export_ids": [
        ("must be of type array", [ENVIRONMENT_ID]),
        ("must not be null", [None]),
    ],
    "stream_maps": [
        ("must be of type object", [[]]),
        ("must not be null", [None]),
        ("is not accepted", [{"users": {"email": f"{SECRET} +"}}, {"users": {"__filter__": f"email == '{SECRET}"}}]),
        ("is not accepted", [{"users": {"x": 5}}, {"users": SECRET}, {"__else__": "x"}]),
        ("is not accepted", [{"usres": {"__else__": 5, "x": 5}, "users": {"__else__": 5}}]),
    ],
    "batch_config": [
        ("must be of type object", [[]]),
        ("must have encoding", [{"storage": FOLDER}]),
        ("must have storage", [{"encoding": JSONL}]),
        ("has an option that the SDK does not know", [{**BATCH, "other": SECRET}]),
    ],
}
INVALID: list[tuple[dict[str, Any], str]] = [
    *(
        ({name: value}, f"Setting {name} {message}")
        for name in ("poll_interval", "export_timeout", "connect_timeout", "read_timeout")
        for message, values in NUMBERS
        for value in values
    ),
    *(
        ({name: value}, f"Setting {name} {message}")
        for name, messages in TEXTS.items()
        for message, values in messages
        for value in values
    ),
    ({"export_ids": [ENVIRONMENT_ID, None]}, "Setting export_ids.1 must be of type string"),
    ({"export_ids": [ENVIRONMENT_ID, SECRET]}, "Setting export_ids.1 must be a lower-case UUID"),
    ({"export_ids": [f"{ENVIRONMENT_ID}\n"]}, "Setting export_ids.0 must be a lower-case UUID"),
    ({SECRET[:4]: SECRET}, "Setting dead does not exist."),
    # Contradictions.
    ({"export_ids": [ENVIRONMENT_ID], "changes_only": True}, "Setting export_ids excludes changes_only"),
    ({"export_ids": [ENVIRONMENT_ID], "request_exports": True}, "Setting export_ids excludes request_exports"),
    (
        {"changes_only": True, "stream_maps": {"users": {"__key_properties__": ["email"]}}},
        "Setting stream_maps must not set __key_properties__ with changes_only",
    ),
    ({"flattening_enabled": True}, "Setting flattening_enabled needs flattening_max_depth"),
    # Parts of objects.
    ({"batch_config": {**BATCH, "encoding": {}}}, "Setting batch_config.encoding must have format."),
    ({"batch_config": {**BATCH, "encoding": {"format": "csv"}}}, "Setting batch_config.encoding.format must be one of"),
    ({"batch_config": {**BATCH, "encoding": {"format": ["jsonl"]}}}, "Setting batch_config.encoding.format must be"),
    ({"batch_config": {**BATCH, "encoding": {**JSONL, "compression": "none"}}}, "Setting batch_config.encoding.comp"),
    ({"batch_config": {**BATCH, "storage": {}}}, "Setting batch_config.storage must have root."),
    *(
        ({"batch_config": {**BATCH, "storage": {"root": root}}}, "Setting batch_config.storage.root must be")
        for root in ("", None, f"ftp://{SECRET}@h/x")
    ),
    ({"batch_config": {**BATCH, "storage": {**FOLDER, "key": SECRET}}}, "Setting batch_config.storage has an option"),
    *(
        ({"batch_config": {**BATCH, "batch_size": size}}, "Setting batch_config.batch_size must be")
        for size in (0, -1, 1.5, True, "5", None, [1], math.nan)
    ),
    ({"stream_maps": {"users": []}}, "Setting stream_maps.users must be of type object"),
    ({"stream_maps": {"users": {"__key_properties__": "email"}}}, "Setting stream_maps.users.__key_properties__ must"),
    ({"stream_map_config": []}, "Setting stream_map_config must be of type object"),
    ({"flattening_max_depth": None, "flattening_enabled": True}, "Setting flattening_max_depth must not be null"),
    ({"flattening_enabled": "true", "flattening_max_depth": 1}, "Setting flattening_enabled must be of type boolean"),
    ({"flattening_enabled": True, "flattening_max_depth": "x"}, "Setting flattening_max_depth must be"),
    (
        {"flattening_enabled": True, "flattening_max_depth": 1, "flattening_max_key_length": 1},
        "Setting flattening_max_key_length is not accepted",
    ),
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


def test_required_settings_that_are_missing(schema: dict[str, Any]) -> None:
    assert find_problems({}, schema) == [("environment_id", "is required"), ("api_token", "is required")]


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


# --- the environment

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
