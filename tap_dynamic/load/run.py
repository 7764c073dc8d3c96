"""One run over the exports: which are requested, waited for and loaded, in which order, and what failed."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Protocol

from msgspec.structs import replace

from tap_dynamic.api.exports import Export, oldest_first, without_repeats
from tap_dynamic.api.polling import wait_for
from tap_dynamic.errors import FileUnusable, FilteredExport, OutputError, TapError, plural
from tap_dynamic.load.plan import PartError
from tap_dynamic.load.selection import (
    is_obsolete,
    nothing_read_reason,
    plan_request,
    reads_all,
    select_unread,
    short_id,
    snapshots_of,
    unread_notes,
    waiting_note,
)
from tap_dynamic.redaction import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tap_dynamic.api.client import ExportsApi
    from tap_dynamic.load.state import RowState


class Stream(Protocol):
    """A row stream, as a run sees it."""

    state: RowState
    """What the state remembers."""

    @property
    def logger(self) -> logging.Logger:
        """Receives lines about the stream."""

    @property
    def replication_method(self) -> str:
        """FULL_TABLE or INCREMENTAL."""

    def load(self, export: Export, listed: Sequence[Export]) -> None:
        """Write all messages of an export."""


@dataclass
class Run:
    """One run over the exports."""

    api: ExportsApi
    streams: Mapping[str, Stream]
    """The selected row streams by model."""
    config: Mapping[str, Any]
    logger: logging.Logger
    write_state: Callable[[], None]
    is_dry_run: bool
    """Whether this is `--test`, which must not create exports or wait."""
    failures: dict[str, None] = field(default_factory=dict, init=False)
    listed: list[Export] = field(default_factory=list, init=False)
    unusable: set[str] = field(default_factory=set, init=False)
    """The ids of exports that will never be loaded."""

    def execute(self, listed: Sequence[Export]) -> list[Export]:
        """Load the exports that the settings choose, and return the last known metadata of each listed or named one.

        Raises:
            TapError: If the state belongs to another environment.
        """
        self.listed = without_repeats(listed)
        for stream in self.streams.values():
            stream.state.check_environment(self.api.environment_id)
        awaited = list(dict.fromkeys(self.config.get("export_ids") or ()))
        if not awaited:
            log_unread(self.streams, self.listed, is_all=reads_all(self.config))
        if self.config["request_exports"] and not self.is_dry_run:
            requested = list(self._request())
            ready = oldest_first(e for e in requested if e.status == "completed")
            for export in ready:
                self._load(export)  # before the wait, which may be cut short
            awaited = [e.id for e in requested if e not in ready]
            self.listed = without_repeats([*self.listed, *ready])
        elif not awaited:
            self._load_unread(self.streams)
        others = [export for export in self.listed if export.id not in awaited]
        ended = list(self._await(awaited))
        for stream in self.streams.values():
            stream.state = stream.state.without_request([*self.listed, *ended], self.unusable)
        if not self.is_dry_run:
            self.write_state()
        return [*others, *ended]

    def _request(self) -> Iterator[Export]:
        """Request exports for all streams before any is waited for; yield those to read."""
        max_age = timedelta(seconds=self.config["export_timeout"])
        for model, stream in self.streams.items():
            state, now, mine = stream.state, datetime.now(timezone.utc), [e for e in self.listed if e.model == model]
            plan = plan_request(state.requested_export_id, mine, state.bookmark, now=now, max_age=max_age)
            if plan.reused:
                stream.logger.info("Export %s was requested by an earlier run.", plan.reused.id)
                yield plan.reused
            if plan.is_needed:
                try:
                    export = self.api.create(model, [e.id for e in self.listed])
                except TapError as error:
                    self._fail(error)
                    continue
                stream.logger.info("Requested export %s of %s.", export.id, model)
                # From the moment Dynamic answered.
                stream.state = replace(stream.state, requested_export_id=export.id)
                self.write_state()
                yield export

    def _load_unread(self, models: Iterable[str]) -> None:
        unread: list[Export] = []
        reasons: list[tuple[str, bool]] = []
        for model in models:
            stream = self.streams[model]
            completed, bookmark = snapshots_of(model, self.listed), stream.state.bookmark
            is_full_table = stream.replication_method == "FULL_TABLE"
            chosen = select_unread(completed, bookmark, self.config, is_full_table=is_full_table)
            unread += chosen
            if not chosen:
                reasons.append(nothing_read_reason(model, completed, bookmark, self.config))
        # One model that is not used is fine; a run that can never load anything is worth an alert.
        level = logging.WARNING if not unread and all(is_warning for _, is_warning in reasons) else logging.INFO
        for reason, _ in reasons:
            self.logger.log(level, "%s", reason)
        failed = set()
        for export in (unread := oldest_first(unread)):
            # Later snapshots wait for one that failed: it would be read after them. A part is never read.
            if export.model not in failed and not self._load(export):
                failed.add(export.model)
                if note := waiting_note(export, unread):
                    self._fail(TapError(note))
        parts = {e.id for e in self.listed if e.is_part}
        if passed := {e.model for e in unread if e.id in parts} - failed:
            self._load_unread(sorted(passed))  # the newest snapshot is another one

    def _await(self, export_ids: list[str]) -> Iterator[Export]:
        """Wait for exports and load their rows, oldest completion first; yield their last metadata."""
        timeout = 0 if self.is_dry_run else self.config["export_timeout"]
        results = wait_for(
            export_ids,
            self.api.get,
            models=self.streams,
            timeout=timeout,
            interval=self.config["poll_interval"],
            logger=self.logger,
        )
        for result in results:
            if isinstance(result, TapError):
                self._fail(result)
                continue
            stream = self.streams.get(result.model)
            if result.failure_reason:
                advice = "Make a new export, or read others with export_ids."
                self._fail(TapError(f"{result.failure_reason}. {advice}"))
            elif not stream:
                self.logger.warning("Export %s is not read: %s is not selected.", result.id, first_line(result.model))
            elif result.status == "pending":
                waited = f"after {plural(round(timeout), 'second')} (export_timeout)"
                advice = "Run again later: it is read once it has completed."
                self._fail(TapError(f"Export {result.id} of {result.model} is still pending {waited}. {advice}"))
            elif result.is_part and not self.config.get("export_ids"):
                stream.logger.warning("Export %s is not read: a filter made only a part.", result.id)
            elif not self.config.get("export_ids") and is_obsolete(result, stream.state.bookmark):
                # Its completion was not known before.
                stream.logger.warning("Export %s is not read: a newer one was loaded before.", result.id)
            else:
                self._load(result)
            yield result

    def _load(self, export: Export) -> bool:
        """Load the rows of an export; return whether later ones can follow."""
        stream = self.streams[export.model]
        try:
            stream.load(export, self.listed)
        except OutputError:
            raise
        except FilteredExport as error:
            stream.logger.warning("%s", error)
            self.unusable.add(export.id)
            self.listed = [dataclasses.replace(e, is_part=e.is_part or e.id == export.id) for e in self.listed]
        except TapError as error:
            self._fail(error)
            if isinstance(error, (FileUnusable, PartError)):
                self.unusable.add(export.id)
            return isinstance(error, PartError)
        return True

    def _fail(self, error: TapError) -> None:
        self.failures.update(dict.fromkeys(error.lines))


def log_unread(streams: Mapping[str, Stream], listed: Sequence[Export], *, is_all: bool) -> None:
    """Name exports that are not read, and remember those that are listed."""
    for model, stream in streams.items():
        state = stream.state
        for note in unread_notes(model, listed, state.bookmark, state.known_exports if is_all else None):
            stream.logger.warning("%s", note)
        known = sorted(short_id(e.id) for e in snapshots_of(model, listed)) if is_all else []
        stream.state = replace(state, known_exports=known or None)
