"""The streams: exports, and its children users and visits."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import RESTStream, Tap
from singer_sdk.schema.source import StreamSchema
from typing_extensions import override

from tap_dynamic.api.responses import check_response, entries_of
from tap_dynamic.errors import TapError
from tap_dynamic.load.run import Run
from tap_dynamic.schemas import SCHEMAS
from tap_dynamic.singer.base import DynamicStream
from tap_dynamic.singer.catalog import complete_exports
from tap_dynamic.singer.rowstream import RowStream
from tap_dynamic.singer.verdicts import describe_exports, log_verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import requests
    from singer_sdk.helpers._batch import BaseBatchFileEncoding, BatchConfig
    from singer_sdk.helpers.types import Context, Record
    from singer_sdk.singerlib import Catalog

    from tap_dynamic.api.client import ExportsApi


class ExportsStream(DynamicStream, RESTStream[None]):
    """Metadata of the exports; loads the rows of those that are to be read."""

    name = "exports"
    path = "/exports"
    primary_keys: ClassVar[tuple[str, ...]] = ("id",)
    schema: ClassVar[StreamSchema[str]] = StreamSchema(SCHEMAS)
    emit_activate_version_messages = False
    """An export that Dynamic no longer lists stays in the table: loaded rows refer to it."""
    # A redirect would carry the token to a host that nobody has named.
    allow_redirects = False

    def __init__(self, tap: Tap, api: ExportsApi) -> None:
        super().__init__(tap)
        self.api = api
        self.failures: dict[str, None] = {}
        if tap.input_catalog is None:
            self.metadata["properties", "downloadUrl"].selected_by_default = False

    # --- the request, by the SDK

    @override
    @property
    def url_base(self) -> str:
        return self.api.url

    @override
    @property
    def requests_session(self) -> requests.Session:
        return self.api.session

    @override
    @property
    def authenticator(self) -> Any:
        return self.api.session.auth

    @override
    @property
    def timeout(self) -> tuple[float, float]:  # type: ignore[override]
        return self.api.timeout

    @override
    def request_decorator(self, func: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
        return self.api.retrying(func)

    @override
    def validate_response(self, response: requests.Response) -> None:
        check_response(response, self.api.environment_id)

    @override
    def parse_response(self, response: requests.Response) -> Iterable[Any]:
        return entries_of(response)

    # --- the run

    @override
    def apply_catalog(self, catalog: Catalog) -> None:
        # A pre-signed URL is a credential, whatever shape the catalog has.
        if entry := catalog.get_stream(self.name):
            complete_exports(entry)
        super().apply_catalog(catalog)

    @override
    def generate_child_contexts(self, record: Record, context: Context | None) -> Iterable[Context | None]:
        # The SDK would sync every child with each context, in the order of the list. `Run` loads them.
        return ()

    @override
    def get_records(self, context: Context | None) -> Iterator[Record]:
        loaders = {s.name: s for s in self.child_streams if isinstance(s, RowStream) and s.selected}
        run = Run(self.api, loaders, self.config, self.logger, self.write_state, is_dry_run=self.is_dry_run)
        is_listed = not self.config.get("export_ids")
        exports = run.execute(self.api.parse_entries(self.request_records(context)) if is_listed else [])
        for loader in loaders.values():
            loader.summary.log_summary(with_changes=self.config["changes_only"])
        self.failures.update(run.failures)
        if self.is_dry_run:
            found = describe_exports(exports, self.api.environment_id)
            log_verdicts({self.name: (found, True), **{n: loader.verdict for n, loader in loaders.items()}})
        if not (self.failures and self.is_dry_run):  # the SDK stops a dry run after one record
            yield from (dict(export.record) for export in exports)

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        """Write the metadata of the exports, and report what failed in row streams after it."""
        with self.reporting_failures():
            yield from super()._sync_records(context, write_messages=write_messages)

    @override
    def get_batches(
        self, batch_config: BatchConfig, context: Context | None = None
    ) -> Iterable[tuple[BaseBatchFileEncoding, list[str]]]:
        # The SDK's own way writes raw records: no selection, no maps.
        with self.reporting_failures(), self.mapped_batches(batch_config) as write:
            for record in super()._sync_records(context, write_messages=False):
                write(record, f"Stream {self.name}")
        return ()

    @contextlib.contextmanager
    def reporting_failures(self) -> Iterator[None]:
        """Raise what failed in row streams after this stream's own records are written."""
        try:
            yield
        except TapError as error:
            self.failures.update(dict.fromkeys(error.lines))
        if self.failures:
            raise TapError(*self.failures)


class UsersStream(RowStream):
    """The users of the environment."""

    name = "users"
    parent_stream_type = ExportsStream


class VisitsStream(RowStream):
    """The visits of the environment."""

    name = "visits"
    parent_stream_type = ExportsStream
