"""Removes what must not be logged from foreign texts and log records: tokens, URL queries."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DETAIL = 200
"""Characters of a foreign text that are logged."""
QUERIES = re.compile(r"(?:\?|%(?:25)*3f)\S+", re.IGNORECASE)
PARAMETERS = re.compile(r"(?:signature|credential|token|sig)(?:=|%(?:25)*3d)\S+", re.IGNORECASE)
TOKENS = re.compile(r"dyn_\S+", re.IGNORECASE)


def redact(text: object) -> str:
    """Remove every URL query and every token from a foreign text, and what no log or target can hold."""
    clean = str(text or "").encode("utf-8", "replace").decode()
    clean = "".join(c for c in clean if c.isprintable() or c in "\r\n\t")
    return PARAMETERS.sub("…", QUERIES.sub("?…", TOKENS.sub("dyn_…", clean)))


def first_line(text: object) -> str:
    """Return the first line of a foreign text, redacted, `MAX_DETAIL` characters at most."""
    return next(iter(redact(text).strip().splitlines()), "").replace("\t", " ")[:MAX_DETAIL]


class RedactingFilter(logging.Filter):
    """Redacts log records of libraries that log whole URLs, whatever the logging configuration."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        record.exc_info = record.exc_text = None
        return True


_FILTER = RedactingFilter()


def drop_debug(record: logging.LogRecord) -> bool:
    """Filter that drops DEBUG records."""
    return record.levelno > logging.DEBUG


for _name in (
    "singer_sdk.mapper",
    "singer_sdk.singerlib.catalog",
):  # they log the values of filters, and cells as names
    logging.getLogger(_name).addFilter(drop_debug)


def redact_logs_of(packages: Iterable[str]) -> None:
    """Install `RedactingFilter` on the loggers of packages and their modules that exist by now."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in packages:
            logging.getLogger(name).addFilter(_FILTER)
