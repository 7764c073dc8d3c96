"""The tap: its settings and its streams."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, cast

from singer_sdk import Stream, Tap
from singer_sdk import typing as th
from singer_sdk.contrib.msgspec import MsgSpecWriter, serialize_jsonl
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.plugin_base import JSONSchemaValidator

from tap_dynamic.client import moment
from tap_dynamic.streams import ExportsStream, UsersStream, VisitsStream

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    import click
    from jsonschema import ValidationError
    from singer_sdk.singerlib.encoding.simple import Message

UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
TOKEN = "^dyn_[!-~]+$"  # noqa: S105 (a pattern)
URL = r"^https?://[^\s?#]+$"
EXPECTED: dict[str, str] = {
    UUID: "a lower-case UUID of 36 characters",
    TOKEN: "a token as Dynamic makes them: dyn_ and then no blanks",
    URL: "a URL that begins with https://",
}
"""What a pattern asks for, in words."""
STOPS = (signal.SIGTERM, signal.SIGINT)

# urllib3 logs whole URLs, with their signatures.
logging.getLogger("urllib3").setLevel(logging.ERROR)


class LineWriter(MsgSpecWriter):
    """Writes whole messages: a signal that would end the tap waits until they are out."""

    @override
    def write_message(self, message: Message) -> None:
        self.write_lines(serialize_jsonl(message.to_dict()))

    def write_lines(self, lines: bytes | bytearray) -> None:
        """Write messages to stdout.

        Args:
            lines: Whole lines, UTF-8.
        """
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            sys.stdout.buffer.write(lines)
            sys.stdout.flush()
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            sys.stdout.buffer.write(lines)
            sys.stdout.flush()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class TapDynamic(Tap):
    """Singer tap for Dynamic (dynamic.xyz): users and visits from the files of its exports API."""

    name = "tap-dynamic"
    dynamic_catalog = True
    message_writer_class = LineWriter

    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property(
            "environment_id",
            th.StringType(pattern=UUID),
            required=True,
            title="Environment ID",
            description="UUID of the environment whose exports are read. A project has two, sandbox and live.",
        ),
        th.Property(
            "api_token",
            th.StringType(pattern=TOKEN),
            required=True,
            secret=True,
            title="API Token",
            description="API token of that environment, made in Dynamic's dashboard. It begins with `dyn_`.",
        ),
        th.Property(
            "export_ids",
            th.ArrayType(th.StringType(pattern=UUID)),
            title="Export IDs",
            description="Read exactly these exports, even if read before. Not together with `request_exports`.",
        ),
        th.Property(
            "request_exports",
            th.BooleanType,
            default=False,
            title="Request Exports",
            description="Ask Dynamic for a fresh export of every selected row stream, wait for it and read it.",
        ),
        th.Property(
            "snapshots",
            th.StringType(allowed_values=["latest", "all"]),
            default="latest",
            title="Snapshots",
            description=(
                "Without `export_ids` and `request_exports`: read the newest completed export of each model (`latest`),"
                " or every one in order of completion (`all`)."
            ),
        ),
        th.Property(
            "start_date",
            th.DateTimeType,
            title="Start Date",
            description="Ignore exports that were completed before this moment.",
        ),
        th.Property(
            "poll_interval",
            th.NumberType(exclusive_minimum=0),
            default=5,
            title="Poll Interval",
            description="Seconds between two looks at a pending export.",
        ),
        th.Property(
            "export_timeout",
            th.NumberType(exclusive_minimum=0),
            default=3600,
            title="Export Timeout",
            description="Longest wait for a pending export, in seconds.",
        ),
        th.Property(
            "connect_timeout",
            th.NumberType(exclusive_minimum=0),
            default=10,
            title="Connect Timeout",
            description="Longest wait for a connection, in seconds.",
        ),
        th.Property(
            "read_timeout",
            th.NumberType(exclusive_minimum=0),
            default=60,
            title="Read Timeout",
            description="Longest wait for the next byte of an answer or a file, in seconds.",
        ),
        th.Property(
            "api_url",
            th.StringType(pattern=URL),
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
                "After the last row of an export, tell the target to drop the rows that are not in it,"
                " such as users who were deleted."
            ),
        ),
        additional_properties=False,
    ).to_dict()

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Refuse bad settings, without their values: one of them is the token.

        Private in the SDK; its own messages hold the value.
        """
        self.append_builtin_config(self.config_jsonschema)
        properties = self.config_jsonschema["properties"]
        for name, value in self._config.items():
            # The SDK reads numbers as text from the environment, and as decimals from files.
            if isinstance(value, (str, Decimal)) and properties.get(name, {}).get("type") == ["number", "null"]:
                with contextlib.suppress(ValueError):
                    self._config[name] = float(value)
        errors = [
            line
            for error in JSONSchemaValidator(self.config_jsonschema).iter_errors(self._config)
            for line in _explain(error)
        ]
        if start := self._config.get("start_date"):
            try:
                moment(start)
            except (TypeError, ValueError):
                errors.append("Setting start_date must be a date-time, such as 2026-01-31T00:00:00Z.")
        if self._config.get("export_ids") and self._config.get("request_exports") is True:
            errors.append("Settings export_ids and request_exports exclude each other: unset one of them.")
        if errors and raise_errors:
            msg = "Config validation failed"
            raise ConfigValidationError(msg, errors=errors, schema=self.config_jsonschema)
        return errors

    @override
    def discover_streams(self) -> Sequence[Stream]:
        exports = ExportsStream(self)
        newest: dict[str, Any] = {}
        if self.input_catalog is None:
            newest = exports.newest()
            for model in ("users", "visits"):
                if model not in newest:
                    self.logger.info("No completed export of %s yet: its columns are the documented ones.", model)
        return [exports, UsersStream(self, newest.get("users")), VisitsStream(self, newest.get("visits"))]

    @override
    @classmethod
    def cb_test(cls, ctx: click.Context, param: click.Option, value: str) -> None:
        # The SDK handles this error everywhere but here.
        try:
            super().cb_test(ctx, param, value)
        except ConfigValidationError as error:
            for line in error.errors:
                cls.logger.error(line)  # noqa: TRY400 (no traceback)
            ctx.exit(1)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """End with the state that was written last: it is true at any moment.

        Private in the SDK, whose own handler writes a state from wherever the run is,
        and ends with exit code 0 as if all were loaded.
        """
        self.logger.warning("Ended by %s: the next run goes on from the last state.", signal.Signals(signum).name)
        sys.exit(128 + signum)


def _explain(error: ValidationError) -> list[str]:
    """Say which setting is wrong and what it must be, but not what it is."""
    place = ".".join(str(part) for part in error.absolute_path)
    rule, wanted = str(error.validator), cast("Any", error.validator_value)
    schema, given = cast("dict[str, Any]", error.schema), cast("Any", error.instance)
    if rule == "required":
        return [f"Setting {name} is required." for name in wanted if error.message.startswith(f"'{name}'")]
    if rule == "additionalProperties" and not place:
        return [f"There is no setting {name}." for name in given if name not in schema["properties"]]
    wishes = {
        "pattern": EXPECTED.get(str(wanted), "of another form"),
        "type": f"of type {wanted if isinstance(wanted, str) else wanted[0]}" if rule == "type" else "",
        "enum": "one of " + ", ".join(str(value) for value in wanted if value) if rule == "enum" else "",
        "exclusiveMinimum": f"greater than {wanted}",
    }
    return [f"Setting {place} must be {wishes.get(rule, f'valid ({rule})')}."]
