"""Measure the tap beside its alternatives, in one run; print the tables.

Parts: `tap` (beside a stock SDK tap and a minimal loop), `load` (four ways into a DuckDB table), `nights` (with and
without `changes_only`) and `memory` (at two sizes). `against PATH` compares this checkout with another one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import against, into_duckdb, memory, nights, taps
from benchmarks.page import write_result
from benchmarks.results import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.results import Result

PARTS: dict[str, Callable[[Options], Result]] = {
    "tap": taps.run,
    "load": into_duckdb.run,
    "nights": nights.run,
    "memory": memory.run,
}


def main() -> None:
    """Run the parts that are named, or the default ones."""
    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"default: {' '.join(PARTS)}")
    parser.add_argument(
        "--rows", type=int, default=Options.rows, help="rows of the file; some parts take many times more"
    )
    parser.add_argument("--changed", type=float, default=Options.changed, help="percent of rows that a night changes")
    parser.add_argument("--pairs", type=int, default=Options.pairs, help="runs of each candidate")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its charts")
    arguments = parser.parse_args()
    options = Options(arguments.rows, arguments.changed, arguments.pairs)
    match arguments.parts:
        case ["against", path] if Path(path, "tap_dynamic").is_dir():
            print(against.run(options, Path(path)).table)
            return
        case parts if unknown := set(parts) - set(PARTS):
            parser.error(
                f"Not understood: {', '.join(sorted(unknown))}. Choose from {', '.join(PARTS)}, or give"
                " `against` and the folder of another checkout."
            )
    for part in arguments.parts or PARTS:
        result = PARTS[part](options)
        print(result.table, *result.goals, sep="\n", end="\n\n", flush=True)
        if arguments.write:
            size = f"--rows {options.rows} --changed {options.changed:g} --pairs {options.pairs}"
            write_result(result, f"python3 -m benchmarks {part} {size}")


main()
