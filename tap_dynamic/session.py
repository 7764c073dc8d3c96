"""HTTP sessions."""

from __future__ import annotations

import os
from pathlib import Path

import requests

from tap_dynamic.errors import TapError

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def new_session(user_agent: str) -> requests.Session:
    """Open a session with the CA certificates of the environment, which `Session.send` does not look up.

    Raises:
        TapError: If there is no such file or folder.
    """
    session = requests.Session()
    session.headers["User-Agent"] = user_agent
    variable = next((name for name in CA_VARIABLES if os.environ.get(name)), None)
    if variable:
        session.verify = os.environ[variable]
        if not Path(session.verify).exists():
            msg = f"The environment variable {variable} names CA certificates that do not exist. Correct or unset it."
            raise TapError(msg)
    return session
