"""Discovery: the columns of each model, from the head of its newest completed export."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tap_dynamic.api.exports import MODELS, Export, oldest_first
from tap_dynamic.errors import FileUnusable, FilteredExport, TapError
from tap_dynamic.file.sample import HEAD_SIZE, Sample, read_sample, unpack_head
from tap_dynamic.load.fitting import infer_key
from tap_dynamic.schemas import KEY_CANDIDATES, SCHEMAS
from tap_dynamic.table.fit import check_is_export, infer_layout

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence

    from tap_dynamic.api.client import ExportsApi
    from tap_dynamic.download.host import FileHost
    from tap_dynamic.table.layout import Layout, Properties


def infer_layouts(
    api: ExportsApi, host: FileHost, export_ids: Sequence[str], logger: logging.Logger
) -> dict[str, Layout]:
    """Infer the layout of each model that has a file from its newest completed export, or the newest of `export_ids`.

    Raises:
        TapError: If the API or the file host can't be reached.
    """
    exports = _named_exports(api, export_ids) if export_ids else api.list_exports()
    # A part can be named, but says little of the next snapshot.
    completed = [e for e in oldest_first(exports) if e.status == "completed" and (export_ids or not e.is_part)]
    layouts = {}
    for model in MODELS:
        documented = SCHEMAS.get_schema(model)["properties"]
        try:
            sample = _newest_sample(api, host, [e for e in completed if e.model == model], documented)
        except FileUnusable as error:
            logger.warning("The columns of %s are the documented ones. %s", model, error)
            continue
        if sample:
            layouts[model] = infer_layout(sample, documented, infer_key(sample, KEY_CANDIDATES[model]))
        else:
            logger.info("There is no completed export of %s yet: its columns are the documented ones.", model)
    return layouts


def _newest_sample(api: ExportsApi, host: FileHost, completed: list[Export], documented: Properties) -> Sample | None:
    for export in reversed(completed):
        with contextlib.suppress(FilteredExport):
            return _fetch_sample(api, host, export, documented)
    return None


def _named_exports(api: ExportsApi, export_ids: Sequence[str]) -> list[Export]:
    """Return those of some exports that exist; raise the first error if none does."""
    exports, errors = [], []
    for export_id in dict.fromkeys(export_ids):
        try:
            exports.append(api.get(export_id))
        except TapError as error:
            errors.append(error)
    if errors and not exports:
        raise errors[0]
    return exports


def _fetch_sample(api: ExportsApi, host: FileHost, export: Export, documented: Properties) -> Sample:
    label = f"Discovery of {export.model}, export {export.id}"
    if export.format != "csv":
        msg = f"{label}: its format is not csv. Make a CSV export."
        raise FileUnusable(msg)
    head, is_whole = host.fetch_head(lambda: api.download_url(export.id, is_part=export.is_part), label, HEAD_SIZE)
    start, is_whole = unpack_head(head, is_whole=is_whole)
    sample = read_sample(start, is_whole=is_whole, label=label)
    check_is_export(sample, (), documented, label)
    return sample
