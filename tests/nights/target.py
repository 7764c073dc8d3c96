"""A strict model of a Singer target that upserts: it accepts nothing that a SQL target would refuse."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft7Validator, FormatChecker

if TYPE_CHECKING:
    from collections.abc import Iterator

Message = dict[str, Any]
Key = tuple[Any, ...]

DELETED_AT = "_sdc_deleted_at"
FORMATS = FormatChecker()
# Without the package rfc3339-validator, jsonschema accepts any text as a date-time.
assert "date-time" in FORMATS.checkers


class RefusedError(AssertionError):
    """A message that a strict target does not accept."""


@dataclass(frozen=True)
class Row:
    """A row of a table, with the version of the run that wrote it."""

    record: Message
    version: int | None
    properties: Message
    """The properties of the SCHEMA message that the record was validated against."""

    @property
    def is_deleted(self) -> bool:
        return self.record.get(DELETED_AT) is not None


@dataclass
class Table:
    """The rows of a stream, by key."""

    key: tuple[str, ...] = ()
    schema: Message = field(default_factory=dict)
    rows: dict[Key, Row] = field(default_factory=dict)
    writers: dict[Key, tuple[str, int]] = field(default_factory=dict)
    """Export and night of the last message that wrote or deleted a row."""
    is_open: bool = False
    """Whether a SCHEMA message of the present run preceded."""
    is_key_final: bool = False
    """Whether a STATE message followed a SCHEMA message in one run, so that the tap could have remembered the key."""

    @property
    def alive(self) -> set[Key]:
        """The keys of the rows that are not marked as deleted."""
        return {key for key, row in self.rows.items() if not row.is_deleted}


class UpsertTarget:
    """Keeps a table for each stream over any number of runs, and the state that the next run gets.

    Args:
        hard_delete: Remove rows whose record has `_sdc_deleted_at`, instead of keeping them marked.
    """

    def __init__(self, *, hard_delete: bool = False) -> None:
        self.hard_delete = hard_delete
        self.tables: dict[str, Table] = {}
        self.state: Message = {}
        self.states: list[Message] = []
        """The states of the present run."""
        self.night, self.died = 0, False
        self._validators: dict[str, Draft7Validator] = {}

    def read(self, out: bytes, *, dies_at: int | None = None) -> Iterator[Message]:
        """Apply the output of one run, and yield each message: a row of a BATCH file as a RECORD message.

        Args:
            out: Only whole lines of it are read, for the last one of a killed run may be cut.
            dies_at: Stop before this message; what was applied stays, and each state of the run is lost.
        """
        self.night, self.died = self.night + 1, False
        before, self.states = self.state, []
        for table in self.tables.values():
            table.is_open = False
            # Versions are seconds, and the nights of a test follow each other faster than real ones.
            table.rows = {key: replace(row, version=None) for key, row in table.rows.items()}
        messages = (single for line in out.split(b"\n")[:-1] for single in expand(json.loads(line)))
        for number, message in enumerate(messages):
            if number == dies_at:
                self.state, self.died = before, True
                return
            self.apply(message)
            yield message

    def apply(self, message: Message) -> None:
        """Apply one message.

        Raises:
            RefusedError: If it is not what a strict target accepts.
        """
        kind = message.get("type")
        if kind == "SCHEMA":
            self._apply_schema(message)
        elif kind == "RECORD":
            self._apply_record(message)
        elif kind == "ACTIVATE_VERSION":
            self._apply_version(message)
        elif kind == "STATE":
            self.state = dict(message["value"])
            self.states.append(self.state)
            for table in self.tables.values():
                table.is_key_final = table.is_key_final or table.is_open
        else:
            msg = f"A message of type {kind!r}"
            raise RefusedError(msg)

    def _apply_schema(self, message: Message) -> None:
        stream, schema, key = message["stream"], message["schema"], tuple(message["key_properties"])
        table = self.tables.setdefault(stream, Table(key))
        properties = schema["properties"]
        Draft7Validator.check_schema(schema)
        # SQL targets do not distinguish between the cases of a column name.
        if repeated := [name for name, count in Counter(map(str.casefold, properties)).items() if count > 1]:
            msg = f"SCHEMA of {stream}: columns that differ only in case: {repeated}"
            raise RefusedError(msg)
        if missing := set(key) - set(properties):
            msg = f"SCHEMA of {stream} without its key properties {missing}"
            raise RefusedError(msg)
        if key != table.key:
            if table.is_key_final:
                msg = f"SCHEMA of {stream}: the key changes from {table.key} to {key}"
                raise RefusedError(msg)
            table.key, table.rows = key, {}
        table.schema, table.is_open = schema, True

    def _apply_record(self, message: Message) -> None:
        stream, record = message["stream"], message["record"]
        table = self._open_table(message)
        if unknown := set(record) - set(table.schema["properties"]):
            msg = f"RECORD of {stream} with properties that its SCHEMA lacks: {unknown}"
            raise RefusedError(msg)
        for error in self._validator(table.schema).iter_errors(record):
            msg = f"RECORD of {stream} does not fit its SCHEMA: {error.json_path}: {error.message}"
            raise RefusedError(msg)
        if empty := [name for name in table.key if record.get(name) is None]:
            msg = f"RECORD of {stream} without a value of its key properties {empty}: {record}"
            raise RefusedError(msg)
        key = tuple(record[name] for name in table.key)
        row = Row(record, message.get("version"), table.schema["properties"])
        table.writers[key] = (record.get("_sdc_export_id", ""), self.night)
        if self.hard_delete and row.is_deleted:
            table.rows.pop(key, None)
        else:
            table.rows[key] = row

    def _apply_version(self, message: Message) -> None:
        table, version = self._open_table(message), message["version"]
        kept = {key: row for key, row in table.rows.items() if row.version == version}
        export_id = next((row.record.get("_sdc_export_id", "") for row in kept.values()), "")
        table.writers |= dict.fromkeys(set(table.rows) - set(kept), (export_id, self.night))
        table.rows = kept

    def _open_table(self, message: Message) -> Table:
        table = self.tables.get(message["stream"])
        if table is None or not table.is_open:
            msg = f"{message['type']} of {message['stream']} before its SCHEMA"
            raise RefusedError(msg)
        return table

    def _validator(self, schema: Message) -> Draft7Validator:
        text = json.dumps(schema)
        if text not in self._validators:
            self._validators[text] = Draft7Validator(schema, format_checker=FORMATS)
        return self._validators[text]


def expand(message: Message) -> Iterator[Message]:
    """Yield the rows of a BATCH message as RECORD messages; any other message as it is."""
    if message["type"] != "BATCH":
        yield message
        return
    for url in message["manifest"]:
        for line in gzip.decompress(Path(url.removeprefix("file://")).read_bytes()).splitlines():
            yield {"type": "RECORD", "stream": message["stream"], "record": json.loads(line)}


def merge(old: Message, new: Message) -> Message:
    """Merge two states deeply, as Meltano does: objects by field, all else is replaced."""
    shared = [name for name in old if isinstance(old[name], dict) and isinstance(new.get(name), dict)]
    return {**old, **new, **{name: merge(old[name], new[name]) for name in shared}}
