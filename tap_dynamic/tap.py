"""The tap: settings, discovery, command line, signals."""

from __future__ import annotations

import copy
import os
import signal
import sys
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, ClassVar

from singer_sdk import Stream, Tap
from singer_sdk.exceptions import ConfigValidationError

from tap_dynamic.api.client import ExportsApi
from tap_dynamic.download.host import FileHost
from tap_dynamic.errors import TapError
from tap_dynamic.output.messages import MessageWriter
from tap_dynamic.redaction import redact_logs_of
from tap_dynamic.settings import CONFIG_SCHEMA, normalize
from tap_dynamic.singer import verdicts
from tap_dynamic.singer.boundary import error_boundary
from tap_dynamic.singer.discovery import infer_layouts
from tap_dynamic.singer.inputs import check_catalog, check_config, check_state, complete_exports
from tap_dynamic.singer.invalid_settings import describe, find_environment_problems, find_problems
from tap_dynamic.singer.streams import ExportsStream, UsersStream, VisitsStream

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    import click
    from singer_sdk.singerlib import Catalog


ENVIRONMENT_PREFIX = "TAP_DYNAMIC_"


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
            msg = "Config validation failed"
            raise ConfigValidationError(msg, errors=errors, schema=self.config_jsonschema)
        return errors

    # --- HTTP

    @property
    def user_agent(self) -> str:
        """The `User-Agent` of all requests."""
        return f"{self.name}/{self.plugin_version}"

    @property
    def timeout(self) -> tuple[float, float]:
        """Seconds to wait for a connection, and for the next byte."""
        return self.config["connect_timeout"], self.config["read_timeout"]

    @cached_property
    def api(self) -> ExportsApi:
        """The exports API."""
        return ExportsApi(
            api_url=self.config["api_url"],
            environment_id=self.config["environment_id"],
            token=self.config["api_token"],
            timeout=self.timeout,
            user_agent=self.user_agent,
            logger=self.logger,
        )

    @cached_property
    def file_host(self) -> FileHost:
        """The object store behind the pre-signed URLs."""
        schemes = ("https", "http") if self.config["api_url"].startswith("http://") else ("https",)
        return FileHost(user_agent=self.user_agent, timeout=self.timeout, schemes=schemes, logger=self.logger)

    # --- discovery

    @property
    @override
    def input_catalog(self) -> Catalog | None:
        # A pre-signed URL is a credential, whatever shape the catalog has.
        if self._input_catalog is not None:
            complete_exports(self._input_catalog)
        return self._input_catalog

    @override
    def setup_mapper(self) -> None:
        # The SDK would register the catalog's columns, and end the run where a map fits the file's only.
        super(Tap, self).setup_mapper()

    @override
    def discover_streams(self) -> Sequence[Stream]:
        redact_logs_of({"urllib3", "requests", "botocore", "aiobotocore", "s3fs", "fsspec"})
        layouts = {}
        if self.input_catalog is None:
            layouts = infer_layouts(self.api, self.file_host, self.config.get("export_ids") or (), self.logger)
        return [
            ExportsStream(self, self.api),
            UsersStream(self, self.api, self.file_host, layouts.get("users")),
            VisitsStream(self, self.api, self.file_host, layouts.get("visits")),
        ]

    @override
    def run_discovery(self) -> str:
        text = self.catalog_json_text
        self.message_writer.write_lines(text.encode() + b"\n")  # type: ignore[attr-defined]
        return text

    # --- command line

    @override
    @classmethod
    def invoke(cls, *, state: IO[str] | None = None, catalog: IO[str] | None = None, **options: Any) -> None:
        with error_boundary():
            super().invoke(state=check_state(state), catalog=check_catalog(catalog), **options)

    @override
    @classmethod
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> Any:
        with error_boundary():
            for path in value:
                if path == "ENV":
                    schema = copy.deepcopy(cls.config_jsonschema)
                    cls.append_builtin_config(schema)
                    if errors := describe(find_environment_problems(os.environ, schema, ENVIRONMENT_PREFIX)):
                        raise TapError(*errors)
                check_config(path)
            return super().cb_config(ctx, param, value)

    @override
    @classmethod
    def cb_discover(cls, ctx: click.Context, param: click.Option, value: bool) -> None:
        with error_boundary():
            super().cb_discover(ctx, param, value)

    @override
    @classmethod
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        with error_boundary():
            try:
                super().cb_test(ctx, param, value)
            finally:
                verdicts.log(ctx)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """End with the state that was written last: it is true at any moment.

        Private in the SDK, whose own handler writes a state from wherever the run is,
        and ends with exit code 0 as if everything was loaded.
        """
        self.logger.warning("Ended by %s: the next run resumes from the last state.", signal.Signals(signum).name)
        sys.exit(128 + signum)
