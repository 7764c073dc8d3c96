"""Load Dynamic's exports into DuckDB through Meltano, and show what was loaded.

Reads from Dynamic if TAP_DYNAMIC_ENVIRONMENT_ID and TAP_DYNAMIC_API_TOKEN are set, otherwise from the sandbox.
"""

from __future__ import annotations

import io
import itertools
import os
import sys
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

from sandbox.data import HEADERS, rows, to_csv, user_rows
from sandbox.interpreters import NoInterpreterError, loader_interpreter
from sandbox.query import query
from sandbox.server import Sandbox
from sandbox.setup import BIN, MELTANO, ROOT, Stamp, project_file
from sandbox.steps import Interrupted, Steps, interrupt_on_signals
from sandbox.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MELTANO_COMMAND = ROOT / ".venv" / MELTANO[0] / BIN / "meltano"
PLUGINS = {"tap-dynamic": "extractors", "target-duckdb": "loaders"}
CREDENTIALS = ("TAP_DYNAMIC_ENVIRONMENT_ID", "TAP_DYNAMIC_API_TOKEN")
USERS, VISITS, NEW_VISITS, SEED = 500, 2000, 12, 2
RENAMED, UNLINKED, DELETED = 4, 5, 7
"""Numbers of the users who change a name, unlink a wallet and are deleted before night 2."""
NEW_NAME, UNLINKED_WALLET = "Novák", "rainbow"
SAMPLE_COLUMNS = {
    "users": [
        "user_firstname",
        "user_lastname",
        "verified_credential_format",
        "verified_credential_walletname",
        "verified_credential_address",
        "user_lastvisit",
    ],
    "visits": ["id", "address", "chain", "walletname", "createdat"],
    "exports": ["id", "model", "status", "completedat"],
}
"""Columns to show of each table, where it has them."""
STREAM_MAPS = """{"users": {"verified_credential_id": "verified_credential_id or 'none'"}}"""
"""Fills the key of a user without a credential, because target-duckdb loads an empty text as null."""
PREFIXES = ("user_", "verified_credential_")
"""Prefixes of the users' columns, left out above a sample."""
DATES = {"lastvisit", "createdat", "completedat"}
SAMPLE_SIZE = 5
EXAMPLE = "select verified_credential_chain, count(*) from users group by 1"

CHANGES = {"added": "green", "changed": "yellow", "unlinked": "red", "deleted": "red"}
"""What can become of a user, and the colour in which it is shown."""

Record = dict[str, Any]


class Demo:
    """The demo.

    Args:
        terminal: Where it is shown.
        environment: Environment variables.
    """

    def __init__(self, terminal: Terminal, environment: Mapping[str, str]) -> None:
        self.terminal = terminal
        self.source = describe_source(environment)
        self.is_real = all(environment.get(name) for name in CREDENTIALS)
        self.database = ROOT / "output" / ("warehouse.duckdb" if self.is_real else "sandbox.duckdb")
        self.variables = {
            name: value
            for name, value in environment.items()
            if self.is_real or not name.startswith(("TAP_DYNAMIC_", "TARGET_DUCKDB_"))
        }
        self.variables["TARGET_DUCKDB_FILEPATH"] = str(self.database)
        self.variables.setdefault("TAP_DYNAMIC_STREAM_MAPS", STREAM_MAPS)
        self.steps = Steps(terminal, self.variables, secret=environment.get(CREDENTIALS[1], ""))

    def run(self) -> None:
        """Install, load, and show what was loaded."""
        self.terminal.line("Dynamic's exports into DuckDB, with tap-dynamic and Meltano", "bold")
        self.terminal.line(f"Source: {self.source}")
        self.install()
        if self.is_real:
            self.terminal.heading("Load the newest exports")
            self.load("dev")
        else:
            with Sandbox() as sandbox:
                self.load_two_nights(sandbox)
        tables = self.tables()
        for table in tables:
            self.show_table(table)
        self.show_next_steps(tables)

    def install(self) -> None:
        """Install Meltano and the plugins, unless they are installed already."""
        self.terminal.heading("Install (takes a minute or two the first time)")
        if "MELTANO_PYTHON" not in self.variables and (python := loader_interpreter()):
            self.variables["MELTANO_PYTHON"] = python
        python = self.variables.get("MELTANO_PYTHON", sys.executable)
        self.steps.run("Meltano", sys.executable, "-m", "sandbox.setup", *MELTANO)
        for name, kind in PLUGINS.items():
            folder = ROOT / ".meltano" / kind / name / "venv"
            stamp = Stamp(folder / ".installed", project_file("pyproject.toml"), project_file("meltano.yml"), python)
            if stamp.is_current():
                self.steps.skip(name)
            else:
                self.steps.run(name, MELTANO_COMMAND, "install", name)
                stamp.write()

    def load(self, environment: str, *options: str) -> None:
        """Run the pipeline."""
        command = ("--environment", environment, "run", "--no-install", *options, *PLUGINS)
        self.steps.run(f"meltano run {' '.join(PLUGINS)}", MELTANO_COMMAND, *command)

    def load_two_nights(self, sandbox: Sandbox) -> None:
        """Load an export of each model, then a newer one in which a few rows differ."""
        self.database.unlink(missing_ok=True)
        self.variables.update(sandbox.variables, TAP_DYNAMIC_CHANGES_ONLY="true")
        visits = list(rows("visits", VISITS + NEW_VISITS, SEED))
        self.terminal.heading("Night 1: the first exports, loaded as a whole")
        add_exports(sandbox, "2026-10-01", list(user_rows(USERS, SEED)), visits[:VISITS])
        self.load("sandbox", "--full-refresh", "--force")  # an interrupted demo can leave a job that seems to run
        before = self.users()
        text = f"{len(before):,} users in {sum(map(len, before.values())):,} rows and {VISITS:,} visits are loaded."
        self.terminal.line(text, indent=2)

        self.terminal.heading("Night 2: newer exports; changes_only loads what changed")
        users = second_night()
        add_exports(sandbox, "2026-10-02", users, visits)
        self.load("sandbox")
        self.show_changes(before, self.users())
        users_sent, visits_sent = (self.rows_of_newest_export(table) for table in ("users", "visits"))
        text = f"{users_sent:,} of {len(users):,} rows of users and {visits_sent:,} of {len(visits):,} visits"
        self.terminal.line(f"{text} were sent to DuckDB.", indent=2)

    def rows_of_newest_export(self, table: str) -> int:
        """Return the number of rows that the newest export left in a table."""
        newest = f"from {table} select max(_sdc_exported_at)"
        result = query(self.database, f"from {table} select count(*) where _sdc_exported_at = ({newest})")
        return int(result.rows[0][0])

    def users(self) -> dict[str, list[Record]]:
        """Return the rows of each user by the user's id."""
        records = query(self.database, "from users order by user_id, verified_credential_id").records
        return {key: list(group) for key, group in itertools.groupby(records, lambda record: record["user_id"])}

    def show_changes(self, before: dict[str, list[Record]], after: dict[str, list[Record]]) -> None:
        """Show what became of each user whose rows differ."""
        changes = [change for key, now in after.items() for change in describe_changes(before.get(key, []), now)]
        for label, style in CHANGES.items():
            for text in (text for other, text in changes if other == label):
                self.terminal.labelled(f"{label:8}", text, style)

    def tables(self) -> list[str]:
        """Return the tables that have rows."""
        listed = "select table_name from information_schema.tables where table_schema = 'dynamic'"
        present = [row[0] for row in query(self.database, listed).rows]
        return [
            name for name in SAMPLE_COLUMNS if name in present and query(self.database, f"from {name} limit 1").rows
        ]

    def show_table(self, table: str) -> None:
        """Show a few rows of a table."""
        present = query(self.database, f"from {table} limit 0").columns
        condition = "where _sdc_deleted_at is null" if "_sdc_deleted_at" in present else ""
        order = "order by _sdc_row_number" if "_sdc_row_number" in present else ""
        users = "count(distinct user_id)" if "user_id" in present else "null"
        count, persons = query(self.database, f"from {table} select count(*), {users} {condition}").rows[0]
        size = counted(count, "rows") if persons is None else f"{counted(persons, 'users')}, {counted(count, 'rows')}"
        sample = query(self.database, f"from {table} {condition} {order} limit {SAMPLE_SIZE}").records
        columns = [name for name in SAMPLE_COLUMNS[table] if name in present] or present
        names = [short_name(name) for name in columns]
        self.terminal.heading(f"{table} ({size})")
        if names != columns:
            self.terminal.line(f"One row per verified credential; {' and '.join(PREFIXES)} left out:", indent=2)
        self.terminal.table(
            names,
            [[str(row[c])[:10] if n in DATES and row[c] else row[c] for c, n in zip(columns, names)] for row in sample],
        )

    def show_next_steps(self, tables: list[str]) -> None:
        """Show what to type next."""
        self.terminal.heading("What next")
        if "users" not in tables and "visits" not in tables:
            self.terminal.line("There is no completed export yet. Make one in Dynamic's", indent=2)
            self.terminal.line("dashboard, or let the tap request one:", indent=2)
            self.terminal.command("export TAP_DYNAMIC_REQUEST_EXPORTS=true")
            self.terminal.command("python3 -m sandbox.demo")
            return
        self.terminal.line(f"The database is {self.database.relative_to(ROOT)}. Query it:", indent=2)
        if self.is_real:
            self.terminal.command("python3 -m sandbox.query", f'"from {tables[0]} limit 10"')
            self.terminal.line("Load your own warehouse every night: see README.md.", indent=2)
        else:
            self.terminal.command("python3 -m sandbox.query", f'"{EXAMPLE}"')
            self.terminal.line("Load your own exports with a token of your environment:", indent=2)
            self.terminal.command(f"export {CREDENTIALS[0]}=...")
            self.terminal.command(f"export {CREDENTIALS[1]}=dyn_...")
            self.terminal.command("python3 -m sandbox.demo")


def describe_source(environment: Mapping[str, str]) -> str:
    """Return what the exports are read from."""
    missing = [name for name in CREDENTIALS if not environment.get(name)]
    if not missing:
        return "your environment of Dynamic"
    return f"a simulated Dynamic ({missing[0]} is not set)" if len(missing) == 1 else "a simulated Dynamic"


def add_exports(sandbox: Sandbox, day: str, users: list[list[str]], visits: list[list[str]]) -> None:
    """Add a night's exports, with ids that are the same in each run."""
    for model, table in (("users", users), ("visits", visits)):
        sandbox.add(
            model,
            to_csv([HEADERS[model], *table]),
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{day}/{model}")),
            created_at=f"{day}T02:00:00.000Z",
            completed_at=f"{day}T02:02:00.000Z",
        )


def second_night() -> list[list[str]]:
    """Return the rows of users of the second night: a user is new, one has a new name, one unlinked a wallet."""
    identifiers = {number: list(user_rows(number + 1, SEED))[-1][0] for number in (RENAMED, UNLINKED, DELETED)}
    user_id, last_name = (HEADERS["users"].index(name) for name in ("user_id", "user_lastName"))
    wallet = HEADERS["users"].index("verified_credential_walletName")
    table = [row for row in user_rows(USERS + 1, SEED) if row[user_id] != identifiers[DELETED]]
    for row in table:
        if row[user_id] == identifiers[RENAMED]:
            row[last_name] = NEW_NAME
    return [row for row in table if (row[user_id], row[wallet]) != (identifiers[UNLINKED], UNLINKED_WALLET)]


def describe_changes(before: list[Record], now: list[Record]) -> Iterator[tuple[str, str]]:
    """Yield what became of a user, each as a label of `CHANGES` and a text.

    Args:
        before: The user's rows before the night.
        now: The user's rows after it.
    """
    name = describe(now[0])
    gone = [row for row in now if row["_sdc_deleted_at"]]
    earlier = {row["verified_credential_id"]: row for row in before}
    if not before:
        yield "added", f"{name}: {counted(len(now), 'rows')}"
    elif len(gone) == len(now):
        yield "deleted", f"{name}: {counted(len(gone), 'rows')}, marked in _sdc_deleted_at"
    else:
        for row in gone:
            wallet = f"{row['verified_credential_walletname']} {shorten(row['verified_credential_address'])}"
            yield "unlinked", f"{wallet} of {name}: 1 row, marked in _sdc_deleted_at"
        changes: Counter[str] = Counter()
        for row in now:
            old = earlier.get(row["verified_credential_id"], row)
            changes.update(
                f"{column} {old[column] or '(empty)'} is now {value or '(empty)'}"
                for column, value in row.items()
                if not column.startswith("_sdc_") and value != old[column]
            )
        for text, count in changes.items():
            yield "changed", f"{describe(before[0])}: {text}, in {counted(count, 'rows')}"


def describe(user: Record) -> str:
    """Return a user's name."""
    return " ".join(name for name in (user["user_firstname"], user["user_lastname"]) if name)


def shorten(address: str) -> str:
    """Return the beginning and the end of an address, as wallets show it."""
    return f"{address[:6]}…{address[-4:]}"


def counted(count: int, plural: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {plural.removesuffix('s') if count == 1 else plural}"


def short_name(column: str) -> str:
    """Return a column's name without the prefix of its group."""
    return next((column.removeprefix(prefix) for prefix in PREFIXES if column.startswith(prefix)), column)


def main() -> None:
    """Run the demo."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    terminal = Terminal()
    interrupt_on_signals()
    try:
        Demo(terminal, os.environ).run()
    except NoInterpreterError as error:
        sys.exit(str(error))
    except BrokenPipeError:  # for example `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Interrupted as interrupted:
        terminal.line()
        terminal.line("Stopped. Run it again at any time.")
        sys.exit(interrupted.exit_code)


if __name__ == "__main__":
    main()
