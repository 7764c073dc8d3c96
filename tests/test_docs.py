"""The documentation matches the tests and the tap, its links have targets, and its commands work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.data import csv_file
from tap_dynamic.settings import CONFIG_SCHEMA
from tests.conftest import ROOT
from tests.download.test_faults import API, BAD_FILES, DOWNLOADS, GOOD_FILES, MATRIX
from tests.meltano_project import MELTANO, Project

if TYPE_CHECKING:
    from sandbox.server import Sandbox
    from tests.conftest import Tap
    from tests.meltano_project import Postgres

REPOSITORY = "https://github.com/<owner>/tap-dynamic"
RAW = "https://raw.githubusercontent.com/<owner>/tap-dynamic/main/"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted((ROOT / "docs").glob("*.md"))
DOCS = [page for page in PAGES if page.parent != ROOT]


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced code blocks of a page."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_number_of_fault_cases_is_correct() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    counts = [int(n) for n in re.findall(r"^\| (?:downloads|API|files):.*?\| (\d+) \|", page, re.MULTILINE)]
    assert counts == [len(DOWNLOADS), len(API), len(BAD_FILES), len(GOOD_FILES)]
    assert f"{len(MATRIX)} cases" in page


def test_the_settings_match_about(tap: Tap) -> None:
    about = tap("--about", "--format=markdown").out
    rows = [line for line in about.splitlines() if line.startswith("| ")]
    ours = rows[: next(n for n, row in enumerate(rows) if row.startswith("| stream_maps"))]
    assert len(ours) == len(CONFIG_SCHEMA["properties"]) + 1  # the heading
    page = (ROOT / "docs" / "settings.md").read_text()
    assert not [row for row in ours if row not in page]


def test_the_readme_is_short_and_the_pages_are_questions() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
    for page in DOCS:
        assert page.read_text().split("\n\n")[1].startswith("This page answers: "), page


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_targets(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^\s)]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)", text, re.MULTILINE)
    assert "<owner>" not in re.sub(rf"{re.escape(REPOSITORY)}|{re.escape(RAW)}|`<owner>`", "", text)
    broken = []
    for target in targets:
        path = target.removeprefix(f"{REPOSITORY}/blob/main/").removeprefix(RAW)
        is_relative = path == target and not target.startswith("https://")
        assert not (is_relative and page.name == "README.md"), f"{target} would be broken on the package index"
        if is_relative or path != target:
            name, _, anchor = path.partition("#")
            file = (page.parent if is_relative else ROOT) / name if name else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(target)
    assert not broken


NOT_RUN = {
    "python3 -m sandbox.demo": ".ci/run runs it",
    "python3 -m tests": "this test would run itself",
    "pipx install ../tap-dynamic": ".ci/run installs the wheel",
    "pipx install target-jsonl": "the test project has installed it",
    "cd ..": "the test starts there",
    "python3 -m venv meltano-env": "the tests have Meltano already",
    ". meltano-env/bin/activate": "the tests have Meltano already",
    'pip install "meltano>=4,<5"': "the tests have Meltano already",
    "git clone https://github.com/<owner>/tap-dynamic.git": "the tests run in a clone",
    f"meltano add tap-dynamic --from-ref {RAW}tap-dynamic.yml": "the same definition is added from the clone",
    "meltano add target-snowflake": "a cloud warehouse",
    "meltano config set target-snowflake --interactive": "a cloud warehouse, and a dialog",
    "meltano run tap-dynamic target-snowflake": "a cloud warehouse",
    "meltano run --full-refresh tap-dynamic target-postgres": "test_meltano.py runs it, into DuckDB",
    "TAP_DYNAMIC_REQUEST_EXPORTS=false meltano run --full-refresh tap-dynamic target-postgres": "the same",
    "meltano run tap-dynamic-users target-postgres &": "test_meltano.py runs it, into files",
    "meltano run tap-dynamic-visits target-postgres &": "test_meltano.py runs it, into files",
    "wait": "for the two above",
    "uvx --from . tap-dynamic --help": "it builds the tap, as .ci/run does",
    "pipx run --spec git+https://github.com/<owner>/tap-dynamic.git tap-dynamic --help": "it needs the repository",
    "python3 -m tests.engines": "it takes minutes",
    "python3 -m tests.nights 2000 --seed 1": "it takes minutes",
    "python3 -m benchmarks --write": "it takes minutes",
    "python3 -m sandbox.picture docs/images/demo.svg": "test_demo.py compares the picture",
}
"""Commands that no test runs, and why."""
RUN_ELSEWHERE = ("bulk.md", "performance.md", "operations.md", "sandbox.md", "exports-and-state.md", "changes.md")
"""Pages with tests or benchmarks of their own."""
HERE = ("README.md", "settings.md", "meltano.md")
"""Pages whose commands are run below."""


def is_run(line: str) -> bool:
    """Whether a line is run, rather than one of `NOT_RUN`."""
    return re.sub(r"\s+#.*", "", line).strip() not in NOT_RUN


def test_every_command_is_run_or_has_a_reason_not_to() -> None:
    for page in PAGES:
        if page.name not in {*HERE, *RUN_ELSEWHERE}:
            assert not [line for block in blocks(page, "sh") for line in block.splitlines() if is_run(line)], page
    commands = "".join(block for page in PAGES for block in blocks(page, "sh"))
    assert not [command for command in NOT_RUN if command not in commands]


def shell(commands: str, folder: Path, **variables: str) -> str:
    """Run commands as they are written, without those in `NOT_RUN`, each expected to succeed."""
    lines = [line for line in commands.splitlines() if is_run(line)]
    completed = subprocess.run(
        ["sh", "-ec", "\n".join(lines)],
        cwd=folder,
        env={**os.environ, **variables, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout[-2000:] + completed.stderr[-3000:]
    return completed.stdout + completed.stderr


def test_the_commands_without_meltano(sandbox: Sandbox, installed: Path, tmp_path: Path) -> None:
    readme = next(block for block in blocks(ROOT / "README.md", "sh") if "--test" in block)
    readme = readme.replace("TOKEN=dyn_...", f"TOKEN={sandbox.config['api_token']}")
    targets = Project(installed).executable("target-jsonl", "")
    path = f"{Path(sys.executable).parent}:{targets}:{os.environ['PATH']}"
    sandbox.add("users", csv_file("users", 5))
    variables = {"PATH": path, "TAP_DYNAMIC_API_URL": sandbox.api_url}
    first, second = readme, "\n".join(line for line in readme.splitlines() if "export " in line)
    for commands in (first, second + "\n" + "\n".join(readme.splitlines()[-2:])):
        shell(commands, tmp_path, **variables)
        written = [line for file in tmp_path.glob("users*.jsonl") for line in file.read_text().splitlines()]
        assert len(written) == 5
        assert '"export_ids"' in (tmp_path / "state.json").read_text()
    about = blocks(ROOT / "docs" / "settings.md", "sh")
    assert len(about) == 1
    assert "| poll_interval |" in shell(about[0], tmp_path, **variables)


def test_from_a_clone_to_a_warehouse(sandbox: Sandbox, postgres: Postgres, tmp_path: Path) -> None:
    """The README's chapter, in an empty folder beside a clone; then the commands of the other pages."""
    if not MELTANO:
        pytest.skip("Meltano is not installed: run python3 -m tests")
    sandbox.add("users", csv_file("users", 5))
    sandbox.add("visits", csv_file("visits", 7))
    (tmp_path / "tap-dynamic").symlink_to(ROOT)
    page = ROOT / "docs" / "meltano.md"
    definition = tmp_path / "target-postgres.yml"  # instead of the Meltano Hub
    definition.write_text(next(block for block in blocks(page, "yaml") if "target_postgres" in block))
    variables = {
        "PATH": f"{Path(str(MELTANO)).parent}:{os.environ['PATH']}",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "TAP_DYNAMIC_API_URL": sandbox.api_url,
    }

    def run(commands: str, folder: Path) -> str:
        add = "meltano add target-postgres"
        return shell(commands.replace(add, f"{add} --from-ref {definition}"), folder, **variables)

    readme = (ROOT / "README.md").read_text()
    chapter = readme.split("## Load your own data")[1].split("### Without Meltano")[0]
    commands = re.findall(r"^```sh\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)
    run(commands[0], tmp_path)
    warehouse = tmp_path / "warehouse"
    address = {"PORT": str(postgres.port), "USER": "tap", "HOST": "127.0.0.1"}
    environment = blocks(ROOT / "README.md", "dotenv")[0].replace("dyn_...", sandbox.config["api_token"])
    for name, value in address.items():
        environment = re.sub(rf"(TARGET_POSTGRES_{name})=.*", rf"\1={value}", environment)
    (warehouse / ".env").write_text(environment)
    assert ".env" in (warehouse / ".gitignore").read_text()
    for block in commands[1:]:
        run(block, warehouse)
    assert postgres.query("select count(*) from dynamic.users") == [["5"]]
    assert postgres.query("select count(*) from dynamic.visits") == [["7"]]
    assert "downloadUrl" not in str(
        postgres.query("select column_name from information_schema.columns where table_name = 'exports'")
    )

    schedule = next(block for block in blocks(page, "yaml") if "schedules:" in block)
    with (warehouse / "meltano.yml").open("a") as file:
        file.write(schedule)
    files = sandbox.count("file")
    select, _, job, *others = blocks(page, "sh")
    listed = run(select, warehouse).splitlines()
    assert any("excluded" in line and "exports.downloadUrl" in line for line in listed)
    assert any("selected" in line and "users.user_metadata" in line for line in listed)
    run(job, warehouse)
    # A run without a new export reads only metadata and the heads.
    later = [request for request in sandbox.requests if request.kind == "file"][files:]
    assert later
    assert all(request.headers.get("Range", "").startswith("bytes=0-") for request in later)
    assert not any(is_run(line) for block in others for line in block.splitlines() if not line.startswith("export "))
