"""The SDK's private names that the tap uses: what it relies on, so that a new SDK that changes them is noticed here."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from singer_sdk import Stream, Tap
from singer_sdk.configuration import _dict_config
from singer_sdk.helpers import _batch, _catalog
from singer_sdk.plugin_base import PluginBase

import tap_dynamic

OVERRIDDEN: dict[tuple[type, str], str] = {
    (Stream, "_sync_records"): "(self, context=None, *, write_messages=True)",
    (Stream, "_write_record_message"): "(self, record)",
    (Tap, "_validate_config"): "(self, *, raise_errors=True)",
    (Tap, "_handle_termination"): "(self, signum, frame)",
}
CALLERS: dict[str, Any] = {
    "self._sync_records(context=context)": Stream.sync,
    "self._write_record_message(record)": Stream._sync_records,  # noqa: SLF001 (what is pinned)
    "self._validate_config(raise_errors=validate_config)": PluginBase,
    "signal.signal(signal.SIGTERM, self._handle_termination)": PluginBase,
}
"""Where the SDK calls what is overridden."""


def signature(function: Any) -> str:
    return re.sub(r": '[^']*'| -> '[^']*'", "", str(inspect.signature(function))).replace(" = ", "=")


@pytest.mark.parametrize(("owner", "name"), OVERRIDDEN)
def test_overridden_methods_have_the_signature_of_the_sdk(owner: type, name: str) -> None:
    assert signature(getattr(owner, name)) == OVERRIDDEN[owner, name]


@pytest.mark.parametrize("call", CALLERS)
def test_the_sdk_calls_what_is_overridden(call: str) -> None:
    assert call in inspect.getsource(CALLERS[call])


def test_functions_of_private_modules() -> None:
    assert signature(_catalog.get_selected_schema) == "(stream_name, schema, mask)"
    assert signature(_dict_config.parse_environment_config) == "(config_schema, prefix, dotenv_path=None)"
    assert set(_batch.SDKBatchMessage.__dataclass_fields__) >= {"stream", "encoding", "manifest"}


def test_no_other_private_names_are_used() -> None:
    """A private module of the SDK is imported where this file knows it."""
    imports = set[str]()
    for file in Path(tap_dynamic.__file__).parent.rglob("*.py"):
        imports |= set(re.findall(r"from (singer_sdk[\w.]*\._\w+) import", file.read_text("utf-8")))
    assert imports == {
        "singer_sdk.configuration._dict_config",
        "singer_sdk.helpers._batch",
        "singer_sdk.helpers._catalog",
    }
