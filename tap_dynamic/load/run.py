"""One run over the exports: which are requested, waited for and loaded, in which order, and what failed."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Protocol

from tap_dynamic.api.exports import Export, oldest_first, without_repeats
from tap_dynamic.api.polling import wait_for
from tap_dynamic.datetimes import parse_datetime
from tap_dynamic.errors import OutputError, TapError, plural
from tap_dynamic.load.selection import (
    failed_notes,
    is_obsolete,
    nothing_read_reason,
    passed_over_notes,
    plan_request,
    reads_all,
    select_unread,
    snapshots_of,
)
from tap_dynamic.redaction import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tap_dynamic.api.client import ExportsApi
    from tap_dynamic.load.state import RowState


class Loader(Protocol):
    """A row stream, as a run sees it."""

    state: RowState
    """What the state remembers."""

    @property
    def logger(self) -> logging.Logger:
        """Receives lines about the stream."""

    @property
    def is_full_table(self) -> bool:
        """Whether the replication method is FULL_TABLE."""

    def load(self, export: Export, listed: Sequence[Export]) -> None:
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
        self.listed: list[Export] = []

    def execute(self, listed: Sequence[Export]) -> list[Export]:
        """Load what is to be read.

        Args:
            listed: All exports; none where `export_ids` names them.

        Returns:
            The last known metadata of each export.

        Raises:
            TapError: If the state belongs to another environment.
        """
        self.listed = without_repeats(listed)
        for loader in self.loaders.values():
            loader.state.check_environment(self.api.environment_id)
        self._forget_requests(self.listed)
        awaited = list(dict.fromkeys(self.config.get("export_ids") or ()))
        if not awaited:
            self._log_notes()
        if self.config["request_exports"] and not self.is_dry_run:
            requested = list(self._request())
            ready = oldest_first(e for e in requested if e.status == "completed")
            for export in ready:
                self._load(export)  # before the wait, which may be cut short
            awaited = [e.id for e in requested if e not in ready]
            self.listed = without_repeats([*self.listed, *ready])
        elif not awaited:
            self._load_unread()
        others = [export for export in self.listed if export.id not in awaited]
        ended = list(self._await(awaited))
        self._forget_requests([*self.listed, *ended])
        if not self.is_dry_run:
            self.write_state()
        return [*others, *ended]

    def _forget_requests(self, exports: Sequence[Export]) -> None:
        for loader in self.loaders.values():
            loader.state = loader.state.without_request(exports)

    def _log_notes(self) -> None:
        """Name exports that are not read, each of them once."""
        is_all = reads_all(self.config)
        for model, loader in self.loaders.items():
            state = loader.state
            known = state.known_exports if is_all else None
            for note in failed_notes(model, self.listed, state.bookmark):
                loader.logger.warning("%s", note)
            for note in passed_over_notes(model, self.listed, state.bookmark, known):
                loader.logger.warning("%s", note)
            completed = snapshots_of(model, self.listed)
            loader.state = state.knowing([e.id for e in completed] if is_all and completed else None)

    def _request(self) -> Iterator[Export]:
        """Request exports for all streams before any is waited for; yield those to read."""
        for model, loader in self.loaders.items():
            plan = plan_request(
                loader.state.requested_export_id,
                self.listed,
                loader.state.bookmark,
                now=datetime.now(timezone.utc),
                max_age=timedelta(seconds=self.config["export_timeout"]),
            )
            if plan.reused:
                loader.logger.info("Export %s was requested by an earlier run.", plan.reused.id)
                yield plan.reused
            if plan.is_needed:
                try:
                    export = self.api.create(model, [e.id for e in self.listed])
                except TapError as error:
                    self._fail(error)
                    continue
                loader.logger.info("Requested export %s of %s.", export.id, model)
                loader.state = loader.state.requested(export.id)  # from the moment Dynamic answered
                self.write_state()
                yield export

    def _load_unread(self) -> None:
        start = parse_datetime(self.config["start_date"]) if self.config.get("start_date") else None
        unread: list[Export] = []
        reasons: list[tuple[str, bool]] = []
        for model, loader in self.loaders.items():
            completed, bookmark = snapshots_of(model, self.listed), loader.state.bookmark
            chosen = select_unread(
                completed,
                bookmark,
                snapshots=self.config["snapshots"],
                start=start,
                is_full_table=loader.is_full_table,
            )
            if not chosen:
                reasons.append(nothing_read_reason(model, completed, bookmark, start=start))
            unread += chosen
        # One model that is not used is fine; a run that can never load anything is worth an alert.
        level = logging.WARNING if not unread and all(is_warning for _, is_warning in reasons) else logging.INFO
        for reason, _ in reasons:
            self.logger.log(level, "%s", reason)
        failed = set()
        for export in oldest_first(unread):
            # Later snapshots wait for one that failed: it would be read after them.
            if export.model not in failed and not self._load(export):
                failed.add(export.model)

    def _await(self, export_ids: list[str]) -> Iterator[Export]:
        """Wait for exports and load their rows, oldest completion first; yield their last metadata."""
        timeout = 0 if self.is_dry_run else self.config["export_timeout"]
        results = wait_for(
            export_ids,
            self.api.get,
            models=self.loaders,
            timeout=timeout,
            interval=self.config["poll_interval"],
            logger=self.logger,
        )
        for result in results:
            if isinstance(result, TapError):
                self._fail(result)
                continue
            loader = self.loaders.get(result.model)
            if result.failure_reason:
                self._fail(TapError(f"{result.failure_reason}. Make a new export, or read others with export_ids."))
            elif not loader:
                self.logger.warning("Export %s is not read: %s is not selected.", result.id, first_line(result.model))
            elif result.status == "pending":
                msg = (
                    f"Export {result.id} of {result.model} is still pending after {plural(round(timeout), 'second')}"
                    " (export_timeout). Run again later: it is read once it has completed."
                )
                self._fail(TapError(msg))
            elif not self.config.get("export_ids") and is_obsolete(result, loader.state.bookmark):
                # Its completion was not known before.
                loader.logger.warning("Export %s is not read: a newer one was loaded before.", result.id)
            else:
                self._load(result)
            yield result

    def _load(self, export: Export) -> bool:
        """Load the rows of an export; return whether that succeeded."""
        try:
            self.loaders[export.model].load(export, self.listed)
        except OutputError:
            raise
        except TapError as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: TapError) -> None:
        self.failures.update(dict.fromkeys(error.lines))
