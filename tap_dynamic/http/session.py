"""HTTP sessions."""

from __future__ import annotations

import os
import ssl
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from tap_dynamic.errors import TapError

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from requests import Response

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Session(requests.Session):
    """A session that leaves redirects alone: requests would read their bodies, and parse their targets."""

    @override
    def get_redirect_target(self, resp: Response) -> None:
        return None


def new_session(user_agent: str) -> Session:
    """Open a session with the CA certificates of the environment, which `Session.send` does not look up.

    Raises:
        TapError: If they can't be read.
    """
    session = Session()
    session.headers["User-Agent"] = user_agent
    variable = next((name for name in CA_VARIABLES if os.environ.get(name)), None)
    if variable:
        session.verify = os.environ[variable]
        check_certificates(variable, os.environ[variable])
    return session


@cache  # it takes a tenth of a short run
def check_certificates(variable: str, path: str) -> None:
    """Read the CA certificates that a variable of the environment names.

    Raises:
        TapError: If they can't be read.
    """
    is_folder = Path(path).is_dir()
    try:
        ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    except OSError:  # also of ssl
        msg = f"The environment variable {variable} names CA certificates that can't be read. Correct or unset it."
        raise TapError(msg) from None
