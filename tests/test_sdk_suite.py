"""The SDK's standard tap tests, run against the sandbox."""

from __future__ import annotations

from singer_sdk.testing import SuiteConfig, get_tap_test_class

from sandbox.data import csv_file
from sandbox.server import Sandbox
from tap_dynamic.tap import TapDynamic

SANDBOX = Sandbox().__enter__()  # stops with this process
SANDBOX.add("users", csv_file("users", 30))
SANDBOX.add("visits", csv_file("visits", 30))
SANDBOX.add("visits", status="failed")

TestTapDynamic = get_tap_test_class(
    TapDynamic,
    config={**SANDBOX.config, "request_exports": True},
    suite_config=SuiteConfig(ignore_no_records=False),
)


def test_the_suite_does_not_create_exports() -> None:
    assert SANDBOX.count("list")
    assert not SANDBOX.count("create")
