"""BATCH files of gzipped JSON lines."""

from __future__ import annotations

import gzip
from typing import IO, TYPE_CHECKING, Any

from singer_sdk.contrib.msgspec import serialize_jsonl
from typing_extensions import override

from tap_dynamic.output.batches import BatchWriter
from tap_dynamic.output.messages import RecordEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class JsonLinesWriter(BatchWriter):
    """Writes gzipped JSON lines."""

    extension = "json.gz"
    encoder: RecordEncoder | None = None

    @override
    def encode_values(self, names: Sequence[str], values: Sequence[Sequence[Any]]) -> bytes:
        self.encoder = self.encoder or RecordEncoder(names)  # compiling one takes as long as some rows
        return self.encoder.encode(values)

    @override
    def add_record(self, record: Mapping[str, Any], label: str) -> None:
        self.add(1, bytes(serialize_jsonl(dict(record))))  # a copy: the SDK reuses its buffer for messages

    @override
    def _open(self, file: IO[bytes]) -> None:
        self.packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1)

    @override
    def _write(self, content: Any) -> None:
        self.packed.write(content)

    @override
    def _close(self) -> None:
        self.packed.close()

    @override
    def _abandon(self) -> None: ...
