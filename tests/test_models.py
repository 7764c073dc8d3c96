"""The queries of docs/models.md, on tables that the tap and real loaders made."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import yaml

from sandbox.data import HEADERS, rows, to_csv, user_rows
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.server import Sandbox
    from tests.conftest import Message, Tap
    from tests.meltano_project import Postgres, Project

Cells = dict[str, str]
Answer = list[dict[str, Any]]

PAGE = (ROOT / "docs" / "models.md").read_text()
CURRENT, NEWEST, USERS, WALLETS, FIELDS, ACTIVE, HISTORY, FILES = re.findall(
    r"^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)
HISTORY_OF = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])["plugins"]
MARKED = "_sdc_deleted_at is null"
IN_NEWEST = "_sdc_exported_at = (select max(_sdc_exported_at) from dynamic.users)"
CREDENTIAL = "verified_credential_"


# --- Three nights


def is_wallet(row: Cells) -> bool:
    return row[f"{CREDENTIAL}format"] == "blockchain"


def three_nights() -> list[list[Cells]]:
    """Users and their credentials; then some change; then some of that is taken back."""
    first = [dict(zip(HEADERS["users"], row, strict=True)) for row in user_rows(20)]
    users = list(dict.fromkeys(row["user_id"] for row in first))
    without = next(row for row in first if not row[f"{CREDENTIAL}id"])
    unlinked = next(filter(is_wallet, first))
    deleted, renamed = users[5], users[6]
    second = [
        {**row, "user_firstName": "Renamed"} if row["user_id"] == renamed else row
        for row in first
        if row["user_id"] != deleted and row is not unlinked
    ]
    # The user's first credential replaces the row without one.
    second[second.index(without)] = {
        **without,
        **{name: cell for name, cell in unlinked.items() if name.startswith(CREDENTIAL)},
        f"{CREDENTIAL}id": "11111111-2222-4333-8444-555555555555",
    }
    return [first, second, [*second, *(row for row in first if row["user_id"] == deleted)]]


NIGHTS = three_nights()
VISITS = [dict(zip(HEADERS["visits"], row, strict=True)) for row in rows("visits", 60)]
LAST = NIGHTS[-1]


def run_nights(tap: Tap, sandbox: Sandbox, **settings: Any) -> tuple[str, list[str]]:
    """Run the tap for each night; return its messages, and the completion of each export of users."""
    state: Message = {}
    messages, completed = "", []
    sandbox.exports.clear()
    for night in NIGHTS:
        sandbox.add("users", to_csv([list(night[0]), *(list(row.values()) for row in night)]))
        sandbox.add("visits", to_csv([list(VISITS[0]), *(list(row.values()) for row in VISITS)]))
        run = tap(_state=state, **settings)
        assert run.code == 0, run.log
        schema = run.of("SCHEMA", "users")[0]
        assert schema["key_properties"] == ["user_id", "verified_credential_id"]
        messages, state = messages + run.out, run.state
        completed.append(run.bookmark("users")["replication_key_value"])
    return messages, completed


# --- What the queries answer


def one_row_per_user() -> Answer:
    found: dict[str, list[Cells]] = defaultdict(list)
    for row in LAST:
        found[row["user_id"]].append(row)
    return [
        {
            "user_id": user,
            "email": own[0]["user_email"] or None,
            "first_name": own[0]["user_firstName"] or None,
            "last_name": own[0]["user_lastName"] or None,
            "created_at": plain_time(own[0]["user_createdAt"]),
            "last_visit": plain_time(own[0]["user_lastVisit"]),
            "credentials": sum(row[f"{CREDENTIAL}id"] != "" for row in own),
            "wallets": sorted({row[f"{CREDENTIAL}address"] for row in own if is_wallet(row)}),
        }
        for user, own in sorted(found.items())
    ]


def wallets() -> Answer:
    return sorted(
        (
            {
                "chain": row[f"{CREDENTIAL}chain"],
                "address": row[f"{CREDENTIAL}address"],
                "wallet": row[f"{CREDENTIAL}walletName"],
                "provider": row[f"{CREDENTIAL}walletProvider"],
                "user_id": row["user_id"],
                "email": row["user_email"] or None,
            }
            for row in LAST
            if is_wallet(row)
        ),
        key=lambda wallet: (wallet["chain"], wallet["address"], wallet["user_id"]),
    )


def custom_fields() -> Answer:
    found = {row["user_id"]: json.loads(row["user_metadata"] or "{}") for row in LAST}
    return [
        {"user_id": user, "plan": metadata.get("plan"), "loyalty_points": metadata.get("loyaltyPoints")}
        for user, metadata in sorted(found.items())
    ]


def active_per_day() -> Answer:
    owners: dict[str, set[str]] = defaultdict(set)
    for row in LAST:
        owners[row[f"{CREDENTIAL}address"].lower()].add(row["user_id"])
    days: dict[str, list[str]] = defaultdict(list)
    for visit in VISITS:
        days[visit["createdAt"][:10]].append(visit["address"].lower())
    return [
        {
            "visit_day": day,
            "visits": len(seen),
            "wallets": len(set(seen)),
            "users": len(set().union(*(owners[address] for address in seen if address in owners))),
        }
        for day, seen in sorted(days.items())
    ]


def history(completed: list[str]) -> Answer:
    """Follow each row from night to night."""
    nights = [{key_of(row): row for row in night} for night in NIGHTS]
    versions: Answer = []
    for key in sorted(set().union(*nights)):
        version: dict[str, Any] = {}
        before = None
        for time, night in zip(completed, nights, strict=True):
            row = night.get(key)
            if row == before:
                continue
            version["valid_to"] = plain_time(time)
            version = {}
            if row:
                version = {
                    "user_id": key[0],
                    "verified_credential_id": key[1],
                    "email": row["user_email"] or None,
                    "first_name": row["user_firstName"] or None,
                    "address": row[f"{CREDENTIAL}address"] or None,
                    "valid_from": plain_time(time),
                    "valid_to": None,
                }
                versions.append(version)
            before = row
    return versions


def key_of(row: dict[str, Any]) -> tuple[str, str]:
    return row["user_id"], row[f"{CREDENTIAL}id"]


def plain_time(text: str) -> str | None:
    """Return a date-time in one spelling: databases and exports have several."""
    date, _, clock = text.rstrip("Z").replace("T", " ").partition(".")
    return date + (f".{clock:0<6}" if clock.strip("0") else "") or None


TIMES = {"created_at", "last_visit", "valid_from", "valid_to"}


def answer(lines: list[list[str]]) -> Answer:
    """Decode rows that a database wrote as JSON."""
    found = [json.loads("|".join(line)) for line in lines]
    return [
        {name: plain_time(value) if name in TIMES and value else value for name, value in row.items()} for row in found
    ]


EXPECTED = {
    USERS: one_row_per_user(),
    WALLETS: wallets(),
    FIELDS: custom_fields(),
    ACTIVE: active_per_day(),
}


# --- The databases


def both_loads(tap: Tap, sandbox: Sandbox, **settings: Any) -> tuple[str, list[str]]:
    """Return the messages of changes, and of all rows into tables of other names, for one run of a loader."""
    everything, _ = run_nights(tap, sandbox, **settings)
    for model in ("users", "visits"):
        everything = everything.replace(f'"stream":"{model}"', f'"stream":"all_{model}"')
    changes, completed = run_nights(tap, sandbox, **HISTORY_OF["extractors"][0]["config"], **settings)
    return everything + changes, completed


def check_current_rows(ask: Callable[[str], Answer], without_credential: str = "") -> None:
    """Ask about both loads."""

    def ask_all(query: str) -> Answer:
        return ask(re.sub(r"dynamic\.(?=users|visits)", "dynamic.all_", query))

    expected = sorted((user, credential or without_credential) for user, credential in map(key_of, LAST))
    assert sorted(map(key_of, ask(CURRENT))) == expected
    assert sorted(map(key_of, ask_all(NEWEST))) == expected
    for query, answers in EXPECTED.items():
        assert ask(query) == answers, query
        assert ask_all(query.replace(MARKED, IN_NEWEST)) == answers, query


def test_duckdb(project: Project, tap: Tap, sandbox: Sandbox) -> None:
    filled = re.findall(r"`(stream_maps: .*)`", (ROOT / "docs" / "columns.md").read_text())
    messages, completed = both_loads(tap, sandbox, **yaml.safe_load(filled[0]))
    config = {"filepath": str(project.output / "warehouse.duckdb"), "default_target_schema": "dynamic"}
    project.feed("target-duckdb", messages, **config)

    def ask(query: str) -> Answer:
        return answer(project.duckdb(f"select to_json(q) from ({query}) as q"))

    check_current_rows(ask, "none")
    for _ in range(2):  # as if a run had been interrupted and repeated
        project.feed("target-jsonl", messages, destination_path=str(project.output))
    files = FILES.replace("output/", f"{project.output}/")
    for version in (versions := history(completed)):
        version["verified_credential_id"] = version["verified_credential_id"] or "none"
    query = HISTORY.replace("dynamic_history.users", f"({files}) as users")
    assert ask(query) == sorted(versions, key=lambda v: (*key_of(v), v["valid_from"]))


def test_postgresql(project: Project, tap: Tap, sandbox: Sandbox, postgres: Postgres) -> None:
    messages, completed = both_loads(tap, sandbox)
    project.feed("target-postgres", messages, **postgres.config)

    def ask(query: str) -> Answer:
        return answer(postgres.query(f"select row_to_json(q) from ({query}) as q"))

    check_current_rows(ask)
    postgres.query("drop schema if exists dynamic_history cascade")
    project.feed("target-postgres", messages, **postgres.config | HISTORY_OF["loaders"][0]["config"])
    assert ask(HISTORY) == history(completed)
    postgres.query("drop schema dynamic_history cascade")
