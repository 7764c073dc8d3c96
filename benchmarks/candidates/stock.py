"""The baseline: a tap built with the SDK's defaults and `csv.DictReader`."""

from __future__ import annotations

import csv
import os
import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

import requests
from singer_sdk import Stream, Tap
from singer_sdk import typing as th

from benchmarks.data import header

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPES = {"newUser": th.BooleanType, "firstVisit": th.DateTimeType, "lastVisit": th.DateTimeType}


class Users(Stream):
    """The rows of the newest export."""

    name = "users"
    primary_keys = ("id",)

    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        *(th.Property(name, TYPES.get(name, th.StringType)) for name in header(int(os.environ["WIDTH"])))
    ).to_dict()

    def get_records(self, context: Any) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        """Download the file, then yield its rows."""
        url = f"{self.config['api_url']}/environments/{self.config['environment_id']}/exports"
        headers = {"Authorization": f"Bearer {self.config['api_token']}"}
        exports = requests.get(url, headers=headers, timeout=60).json()["exports"]
        with tempfile.NamedTemporaryFile() as file:
            with requests.get(exports[0]["downloadUrl"], timeout=60, stream=True) as response:
                for block in response.iter_content(1 << 16):
                    file.write(block)
            file.flush()
            with open(file.name, newline="", encoding="utf-8") as text:  # noqa: PTH123
                for row in csv.DictReader(text):
                    record: dict[str, Any] = {name: cell or None for name, cell in row.items()}
                    record["newUser"] = row["newUser"] == "true"
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
