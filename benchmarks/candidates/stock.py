"""The baseline: a tap built with the SDK's defaults and `csv.DictReader`."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import Stream, Tap
from singer_sdk import typing as th

from benchmarks.candidates.exports_api import download_newest
from sandbox.data import HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPES: dict[str, Any] = {
    "user_createdAt": th.DateTimeType,
    "user_updatedAt": th.DateTimeType,
    "user_firstVisit": th.DateTimeType,
    "user_lastVisit": th.DateTimeType,
    "user_onboardingCompletedAt": th.DateTimeType,
    "user_metadata": th.ObjectType(additional_properties=True),
    "verified_credential_lastSelectedAt": th.DateTimeType,
    "verified_credential_signInEnabled": th.BooleanType,
}


class Users(Stream):
    """The rows of the newest export."""

    name = "users"
    primary_keys = ("user_id", "verified_credential_id")

    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        *(th.Property(name, TYPES.get(name, th.StringType)) for name in HEADERS["users"])
    ).to_dict()

    def get_records(self, context: Any) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        """Download the file, then yield its rows."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "users.csv")
            download_newest(self.config, file)
            with file.open(newline="", encoding="utf-8") as text:
                for row in csv.DictReader(text):
                    record: dict[str, Any] = {name: cell or None for name, cell in row.items()}
                    record["verified_credential_id"] = row["verified_credential_id"]
                    if record["user_metadata"]:
                        record["user_metadata"] = json.loads(record["user_metadata"])
                    if record["verified_credential_signInEnabled"]:
                        record["verified_credential_signInEnabled"] = row["verified_credential_signInEnabled"] == "true"
                    yield record


class StockTap(Tap):
    """A tap with one stream."""

    name = "tap-stock"
    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        *(th.Property(name, th.StringType) for name in ("environment_id", "api_token", "api_url")),
    ).to_dict()

    def discover_streams(self) -> list[Stream]:
        """Return the only stream."""
        return [Users(self)]


if __name__ == "__main__":
    StockTap.cli()
