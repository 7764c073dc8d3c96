"""One run over the exports: which are requested, waited for and loaded, in which order, and what failed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Protocol

from tap_dynamic.api.exports import Export, find_reusable, nothing_new_reason, oldest_first, select_unread
from tap_dynamic.api.polling import wait_for
from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.errors import TapError, plural
from tap_dynamic.output.messages import OutputError

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tap_dynamic.api.client import ExportsApi
    from tap_dynamic.api.exports import Bookmark
    from tap_dynamic.load.state import StreamState


class Loader(Protocol):
    """A row stream, as a run sees it."""

    @property
    def state(self) -> StreamState:
        """What the state remembers."""

    @property
    def bookmark(self) -> Bookmark | None:
        """What counts as loaded."""

    @property
    def logger(self) -> logging.Logger:
        """Receives lines about the stream."""

    def load(self, export: Export) -> None:
        """Write all messages of an export."""


class Run:
    """One run.

    Args:
        api: The exports API.
        loaders: The selected row streams by model.
        config: The settings.
        logger: Receives progress.
        write_state: Writes a STATE message.
        is_dry_run: Whether this is `--test`, which must not create exports or wait.
    """

    def __init__(  # noqa: PLR0913 (what it depends on, nothing hidden)
        self,
        api: ExportsApi,
        loaders: Mapping[str, Loader],
        config: Mapping[str, Any],
        *,
        logger: logging.Logger,
        write_state: Callable[[], None],
        is_dry_run: bool,
    ) -> None:
        self.api, self.loaders, self.config = api, loaders, config
        self.logger, self.write_state, self.is_dry_run = logger, write_state, is_dry_run
        self.failures: dict[str, None] = {}
        self.requested: dict[str, Export] = {}

    def execute(self, listed: list[Export]) -> list[Export]:
        """Load what is to be read.

        Args:
            listed: All exports; none where `export_ids` names them.

        Returns:
            The last known metadata of each export.
        """
        self._forget_requests(listed)
        self._warn_of_failed(listed)
        awaited = list(dict.fromkeys(self.config.get("export_ids") or ()))
        if self.config["request_exports"] and not self.is_dry_run:
            requested = list(self._request(listed))
            ready = oldest_first(e for e in requested if e.status == "completed")
            for export in ready:
                self._load(export)  # before the wait, which may be cut short
            awaited = [e.id for e in requested if e not in ready]
            listed = [*(e for e in listed if e not in ready), *ready]
        elif not awaited:
            self._load_unread(listed)
        others = [export for export in listed if export.id not in awaited]
        ended = list(self._await(awaited))
        self._forget_requests([*listed, *ended])
        self.write_state()
        return [*others, *ended]

    def _forget_requests(self, exports: list[Export]) -> None:
        for loader in self.loaders.values():
            loader.state.forget_request(exports)

    def _request(self, listed: list[Export]) -> Iterator[Export]:
        """Request exports for all streams before any is waited for; yield those to read."""
        for model, loader in self.loaders.items():
            plan = find_reusable(
                loader.state.requested_id,
                listed,
                loader.state.bookmark,
                now=datetime.now(timezone.utc),
                max_age=timedelta(seconds=self.config["export_timeout"]),
            )
            if plan.reused:
                loader.logger.info("Export %s was requested by an earlier run.", plan.reused.id)
                yield plan.reused
            if plan.is_needed:
                try:
                    export = self.api.create(model, [e.id for e in listed])
                except TapError as error:
                    self._fail(*error.lines)
                    continue
                loader.logger.info("Requested export %s of %s.", export.id, model)
                self.requested[export.id] = export
                loader.state.requested_id = export.id  # from the moment Dynamic answered
                self.write_state()
                yield export

    def _load_unread(self, listed: list[Export]) -> None:
        start = parse_datetime(self.config["start_date"]) if self.config.get("start_date") else None
        unread: list[Export] = []
        for model, loader in self.loaders.items():
            mine = [export for export in listed if export.model == model]
            chosen = select_unread(mine, loader.bookmark, snapshots=self.config["snapshots"], start=start)
            if not chosen:
                loader.logger.info("%s", nothing_new_reason(mine, loader.bookmark, start=start))
            unread += chosen
        failed = set()
        for export in oldest_first(unread):
            # Later snapshots wait for one that failed: it would be read after them.
            if export.model not in failed and not self._load(export):
                failed.add(export.model)

    def _warn_of_failed(self, exports: Iterable[Export]) -> None:
        """Warn of failed exports, unless a later one was loaded."""
        for export in exports:
            loader = self.loaders.get(export.model)
            if loader and export.failure_reason:
                bookmark = loader.bookmark
                if bookmark is None or export.completed_at > bookmark.instant:
                    loader.logger.warning("%s.", export.failure_reason)

    def _await(self, export_ids: list[str]) -> Iterator[Export]:
        """Wait for exports and load their rows, oldest completion first; yield their last metadata."""
        timeout = 0 if self.is_dry_run else self.config["export_timeout"]
        results = wait_for(
            export_ids,
            self.api.get,
            models=self.loaders,
            requested=self.requested,
            timeout=timeout,
            interval=self.config["poll_interval"],
            logger=self.logger,
        )
        for result in results:
            if isinstance(result, TapError):
                self._fail(*result.lines)
                continue
            if result.failure_reason:
                self._fail(f"{result.failure_reason}. Make a new export, or read others with export_ids.")
            elif result.status == "pending" and result.model in self.loaders:
                self._fail(
                    f"Export {result.id} of {result.model} is still pending after {plural(round(timeout), 'second')}"
                    " (export_timeout). Run again later: it is read once it has completed."
                )
            elif result.status == "completed" and result.model in self.loaders:
                self._load(result)
            yield result

    def _load(self, export: Export) -> bool:
        """Load the rows of an export; return whether that succeeded."""
        try:
            self.loaders[export.model].load(export)
        except OutputError:
            raise
        except TapError as error:
            self._fail(*error.lines)
            return False
        return True

    def _fail(self, *lines: str) -> None:
        self.failures.update(dict.fromkeys(lines))
