"""Removes tokens and URL queries from foreign texts and log records."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_DETAIL = 200
"""Characters of a foreign text that are logged."""
QUERIES = re.compile(r"(?:\?|%(?:25)*3f)\S+", re.IGNORECASE)
PARAMETERS = re.compile(r"(?:signature|credential|token|sig)(?:=|%(?:25)*3d)\S+", re.IGNORECASE)
TOKENS = re.compile(r"dyn_\S+", re.IGNORECASE)

for _name in ("singer_sdk.mapper", "singer_sdk.singerlib.catalog"):
    # At DEBUG they log the values of filters, and cells as names.
    logging.getLogger(_name).addFilter(lambda record: record.levelno > logging.DEBUG)


def drop_values(record: logging.LogRecord) -> bool:
    """Keep nothing of a log record but what it is about: a filter for a logger that logs what a host has sent."""
    record.msg, record.args = re.split("[(%:]", str(record.msg))[0].strip() + ".", ()
    record.exc_info = record.exc_text = None
    return True


# Headers that can't be parsed may be followed by the body.
logging.getLogger("urllib3.connection").addFilter(drop_values)


def redact(text: object) -> str:
    """Remove every URL query, every token, and characters that a log or a target can't hold."""
    clean = str(text or "").encode("utf-8", "replace").decode()
    clean = "".join(c for c in clean if c.isprintable() or c in "\r\n\t")
    return PARAMETERS.sub("…", QUERIES.sub("?…", TOKENS.sub("dyn_…", clean)))


def first_line(text: object) -> str:
    """Return the first line of a foreign text, redacted, `MAX_DETAIL` characters at most."""
    return next(iter(redact(text).strip().splitlines()), "").replace("\t", " ")[:MAX_DETAIL]


def redact_record(record: logging.LogRecord) -> bool:
    """Redact a log record, whatever the logging configuration: a filter for libraries that log whole URLs."""
    record.msg, record.args = redact(record.getMessage()), ()
    record.exc_info = record.exc_text = None
    return True


def redact_logs_of(packages: Collection[str]) -> None:
    """Redact the log records of packages, by the loggers that exist so far."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in packages:
            logging.getLogger(name).addFilter(redact_record)
