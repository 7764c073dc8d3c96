"""What a script that reads Dynamic's exports needs of its API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def download_newest(config: Mapping[str, str], file: Path) -> None:
    """Download the newest completed export of users.

    Args:
        config: `api_url`, `environment_id` and `api_token`.
        file: Where it is written.
    """
    url = f"{config['api_url']}/environments/{config['environment_id']}/exports"
    headers = {"Authorization": f"Bearer {config['api_token']}"}
    exports = _json(url, headers)["exports"]
    completed = [e for e in exports if e["model"] == "users" and e["status"] == "completed"]
    newest = max(completed, key=lambda export: str(export["completedAt"]))
    fresh = _json(f"{url}/{newest['id']}", headers)["downloadUrl"]
    with requests.get(fresh, timeout=60, stream=True) as response, file.open("wb") as out:
        response.raise_for_status()
        for block in response.iter_content(1 << 20):
            out.write(block)


def _json(url: str, headers: dict[str, str]) -> Any:
    response = requests.get(url, headers=headers, timeout=60)
    response.raise_for_status()
    return response.json()
