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
from tap_dynamic.errors import FileUnusable, FilteredExport, OutputError, TapError
from tap_dynamic.load.plan import PartError
from tap_dynamic.load.selection import (
    nothing_read_reason,
    plan_request,
    reads_all,
    select_unread,
    short_id,
    snapshots_of,
    unread_notes,
    unread_reason,
    waiting_note,
)

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
        for stream in self.streams.values():
            stream.state.check_environment(self.api.environment_id)
        awaited = named = list(dict.fromkeys(self.config.get("export_ids") or ()))
        # What is named is read only, but the table may hold rows of others.
        self.listed = without_repeats(self.api.list_exports() if named else listed)
        if not named:
            log_unread(self.streams, self.listed, is_all=reads_all(self.config))
        if self.config["request_exports"] and not self.is_dry_run:
            requested = list(self._request())
            ready = oldest_first(e for e in requested if e.status == "completed")
            for export in ready:
                self._load(export)  # before the wait, which may be cut short
            awaited = [e.id for e in requested if e not in ready]
            self.listed = without_repeats([*self.listed, *ready])
        elif not named:
            self._load_unread()
        others = [] if named else [export for export in self.listed if export.id not in awaited]
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

    def _load_unread(self) -> None:
        models, failed = set(self.streams), set()
        while models:
            unread = choose_unread(sorted(models), self)
            for export in unread:
                # Later snapshots wait for one that failed: it would be read after them. A part is never read.
                if export.model not in failed and not self._load(export):
                    failed.add(export.model)
                    note = waiting_note(export, unread) if export.id in self.unusable else None
                    self.failures.update({note: None} if note else {})
            # The newest snapshot is another one where all that were chosen turned out to be parts.
            whole = {e.id for e in self.listed if not e.is_part}
            models = {e.model for e in unread} - {e.model for e in unread if e.id in whole}

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
            stream, is_named = self.streams.get(result.model), bool(self.config.get("export_ids"))
            bookmark = stream.state.bookmark if stream else None
            reason = unread_reason(result, bookmark, is_selected=bool(stream), is_named=is_named, timeout=timeout)
            if not reason:
                self._load(result)
            elif reason.is_failure:
                self._fail(TapError(reason.text))
            else:
                (stream or self).logger.warning("%s", reason.text)
                self.unusable.add(result.id)
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


def choose_unread(models: Iterable[str], run: Run) -> list[Export]:
    """Choose the exports that are read, oldest first, and say why there are none of a model."""
    unread: list[Export] = []
    reasons: list[tuple[str, bool]] = []
    for model in models:
        completed, bookmark = snapshots_of(model, run.listed), run.streams[model].state.bookmark
        is_full_table = run.streams[model].replication_method == "FULL_TABLE"
        chosen = select_unread(completed, bookmark, run.config, is_full_table=is_full_table)
        unread += chosen
        if not chosen:
            reasons.append(nothing_read_reason(model, completed, bookmark, run.config))
    # One model that is not used is fine; a run that can never load anything is worth an alert.
    is_alarming = not unread and len(reasons) == len(run.streams) and all(is_warning for _, is_warning in reasons)
    level = logging.WARNING if is_alarming else logging.INFO
    for reason, _ in reasons:
        run.logger.log(level, "%s", reason)
    return oldest_first(unread)


def log_unread(streams: Mapping[str, Stream], listed: Sequence[Export], *, is_all: bool) -> None:
    """Name exports that are not read, and remember those that are listed."""
    for model, stream in streams.items():
        state = stream.state
        for note in unread_notes(model, listed, state.bookmark, state.known_exports if is_all else None):
            stream.logger.warning("%s", note)
        known = sorted(short_id(e.id) for e in snapshots_of(model, listed)) if is_all else []
        stream.state = replace(state, known_exports=known or None)
