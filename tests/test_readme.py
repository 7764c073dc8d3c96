"""The README matches the tests and the tap."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.conftest import ROOT
from tests.test_faults import API, BAD_FILES, DOWNLOADS, GOOD_FILES, MATRIX

if TYPE_CHECKING:
    from tests.conftest import Tap

README = (ROOT / "README.md").read_text()


def test_the_number_of_fault_cases_is_correct() -> None:
    counts = [int(n) for n in re.findall(r"^\| (?:downloads|API|files):.*?\| (\d+) \|", README, re.MULTILINE)]
    assert counts == [len(DOWNLOADS), len(API), len(BAD_FILES), len(GOOD_FILES)]
    assert f"{len(MATRIX)} cases" in README


def test_the_settings_match_about(tap: Tap) -> None:
    about = tap("--about", "--format=markdown").out
    rows = [line for line in about.splitlines() if line.startswith("| ")]
    ours = rows[: next(n for n, row in enumerate(rows) if row.startswith("| stream_maps"))]
    assert len(ours) == 14
    assert not [row for row in ours if row not in README]


def test_links_have_targets() -> None:
    headings = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^## (.*)", README, re.MULTILINE)
    }
    assert not set(re.findall(r"\]\(#([\w-]+)\)", README)) - headings
    for path in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / path).exists()
