"""The tap: settings, discovery, command line, signals."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import signal
import sys
from typing import IO, TYPE_CHECKING, Any, ClassVar

import click
from singer_sdk import Stream, Tap
from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.tap_base import CliTestOptionValue
from typing_extensions import override

from tap_dynamic.api.client import ExportsApi
from tap_dynamic.download.host import FileHost
from tap_dynamic.errors import TapError
from tap_dynamic.output.messages import MessageWriter
from tap_dynamic.redaction import redact_logs_of
from tap_dynamic.settings import CONFIG_SCHEMA, normalize, read_environment
from tap_dynamic.singer.catalog import selection_problem
from tap_dynamic.singer.discovery import infer_layouts
from tap_dynamic.singer.input_files import read_catalog, read_config, read_state
from tap_dynamic.singer.invalid_settings import describe, find_problems
from tap_dynamic.singer.streams import ExportsStream, UsersStream, VisitsStream
from tap_dynamic.singer.verdicts import only_verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

INPUT_FILES = {"catalog": read_catalog, "state": read_state}


def read_input_file(_: click.Context, option: click.Parameter, path: str | None) -> IO[str] | None:
    """Read a file as the callback of its option: the SDK's own ones are read in the encoding of the locale."""
    return None if path is None else io.StringIO(json.dumps(INPUT_FILES[option.name or ""](path)))


class TapDynamic(Tap):
    """Singer tap for Dynamic (dynamic.xyz): users and visits from the files of its exports API."""

    name = "tap-dynamic"
    dynamic_catalog = True
    message_writer_class = MessageWriter
    config_jsonschema: ClassVar[dict[str, Any]] = copy.deepcopy(CONFIG_SCHEMA)  # the SDK adds its own

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Reject invalid settings, without their values: one of them is the token.

        Private in the SDK; its own messages hold the value.
        """
        self.append_builtin_config(self.config_jsonschema)
        normalize(self._config, self.config_jsonschema)
        errors = describe(find_problems(self._config, self.config_jsonschema))
        if errors and raise_errors:
            raise TapError(*errors)
        return errors

    # --- discovery

    @override
    def setup_mapper(self) -> None:
        # The SDK would register the catalog's columns, and end the run where a map fits the file's only.
        super(Tap, self).setup_mapper()

    @override
    def discover_streams(self) -> Sequence[Stream]:
        redact_logs_of({"urllib3", "requests", "botocore", "aiobotocore", "s3fs", "fsspec"})
        config, url = self.config, self.config["api_url"]
        client: dict[str, Any] = {
            "timeout": (config["connect_timeout"], config["read_timeout"]),
            "user_agent": f"{self.name}/{self.plugin_version}",
            "logger": self.logger,
        }
        api = ExportsApi(api_url=url, environment_id=config["environment_id"], token=config["api_token"], **client)
        host = FileHost(schemes=("https", "http") if url.startswith("http://") else ("https",), **client)
        layouts = {}
        if self.input_catalog is None:
            layouts = infer_layouts(api, host, config.get("export_ids") or (), self.logger)
        elif problem := selection_problem(self.input_catalog):
            self.logger.warning("%s", problem)
        return [
            ExportsStream(self, api),
            UsersStream(self, api, host, layouts.get("users")),
            VisitsStream(self, api, host, layouts.get("visits")),
        ]

    @override
    def run_discovery(self) -> str:
        text = self.catalog_json_text
        self.message_writer.write_lines(text.encode() + b"\n")  # type: ignore[attr-defined]
        return text

    # --- command line

    @override
    @classmethod
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        for option in command.params:
            if option.name in INPUT_FILES:
                option.type, option.callback = click.Path(), read_input_file
        return command

    @override
    @classmethod
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:
        parsed = super().cb_config(ctx, param, ())
        for path in value:
            if path != "ENV":
                parsed.config.update(read_config(path))
        if "ENV" in value:
            parsed.config.update(cls._read_environment())
        return parsed

    @classmethod
    def _read_environment(cls) -> dict[str, Any]:
        """Read the settings of the environment and `.env`: the SDK would misread some, and fail at others."""
        try:
            # Reads `.env`, and no setting. Private in the SDK, which looks for the file beside its own module.
            parse_environment_config({}, "")
        except (OSError, ValueError):
            msg = "The file .env can't be read: it must be text in UTF-8."
            raise TapError(msg) from None
        level = os.environ.get("TAP_DYNAMIC_LOGLEVEL") or os.environ.get("LOGLEVEL", "INFO")
        if not isinstance(logging.getLevelName(level.upper()), int):
            msg = "Setting loglevel must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL."
            raise TapError(msg)
        cls.append_builtin_config(cls.config_jsonschema)
        return read_environment(os.environ, cls.config_jsonschema)

    @override
    @classmethod
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        is_run = value not in {CliTestOptionValue.Disabled.value, CliTestOptionValue.Schema.value}
        with only_verdicts() if is_run else contextlib.nullcontext():
            super().cb_test(ctx, param, value)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """End with the state that was written last: it is true at any moment.

        Private in the SDK, whose own handler writes a state from wherever the run is,
        and ends with exit code 0 as if everything was loaded.
        """
        self.logger.warning("Ended by %s: the next run resumes from the last state.", signal.Signals(signum).name)
        sys.exit(128 + signum)
