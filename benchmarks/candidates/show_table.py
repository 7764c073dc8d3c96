"""Print the rows, a digest of two columns, the types and a sample of the table `users` in a DuckDB file, as JSON."""

from __future__ import annotations

import json
import sys

import duckdb


def show(database: str) -> dict[str, object]:
    """Describe the table, whatever its schema and the spelling of its columns are; empty if there is none."""
    with duckdb.connect(database, read_only=True) as connection:
        found = connection.execute(
            "select table_schema, column_name, data_type from information_schema.columns where table_name = 'users'"
        ).fetchall()
        if not found:
            return {}
        table = f'"{found[0][0]}".users'
        columns = {name.lower().replace("_", "").replace(" ", ""): f'"{name}"' for _, name, _ in found}
        line = f"coalesce({columns['useremail']}, '') || '|' || {columns['userfirstname']}"
        key = f"{columns['userid']}, coalesce({columns['verifiedcredentialid']}, '')"
        digest = f"md5(string_agg({line}, chr(10) order by {key}))"
        query = f"select count(*), {digest}, min({columns['userphonenumber']}) from {table}"  # noqa: S608 (its own names)
        rows, checksum, phone = connection.execute(query).fetchall()[0]
        return {"rows": rows, "digest": checksum, "phone": phone, "types": {name: kind for _, name, kind in found}}


print(json.dumps(show(sys.argv[1])))
