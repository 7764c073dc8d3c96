"""Plays histories in parallel processes, and shows the first one that fails, shrunk."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tests.nights.dice import draw_history
from tests.nights.histories import shrink
from tests.nights.player import Player
from tests.processes import Forks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.nights.histories import History


def rule_of(error: AssertionError | None) -> str:
    """The rule that does not hold, without its details."""
    return getattr(error, "rule", str(error).split(":", 1)[0]) if error else ""


def shortest(player: Player, history: History, rule: str, *, attempts: int = 400) -> History:
    """Shrink a history that fails by a rule."""
    return shrink(history, lambda shorter: rule_of(player.failure(shorter)) == rule, attempts=attempts)


def play_seeds(seeds: Iterable[int], *, is_shrinking: bool) -> tuple[int, str]:
    """Play the histories of some seeds; return how many failed, and what to show of them."""
    failed, shown = 0, []
    with closing(Forks()) as forks, tempfile.TemporaryDirectory() as folder:
        player = Player(forks, Path(folder))
        for seed in seeds:
            history = draw_history(seed)
            error = player.failure(history)
            if error:
                failed += 1
                history = shortest(player, history, rule_of(error)) if is_shrinking else history
                error = player.failure(history) or error
                shown.append(f"Seed {seed}: {error}\n{show(history) if is_shrinking else ''}")
                if is_shrinking:
                    break
    return failed, "\n".join(shown)


def show(history: History) -> str:
    """Show a history as a literal, a night a line."""
    return repr(history).replace("Night(", "\n    Night(")


def main() -> None:
    """Play as many histories as the command line says."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.nights", description=__doc__)
    parser.add_argument("histories", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--all", action="store_true", help="list every failing seed instead of shrinking the first")
    options = parser.parse_args()
    processes = os.cpu_count() or 1
    seeds = range(options.seed, options.seed + options.histories)
    chunks = [seeds[start : start + 20] for start in range(0, len(seeds), 20)]
    failed = 0
    with ProcessPoolExecutor(processes) as pool:
        futures = [pool.submit(play_seeds, chunk, is_shrinking=not options.all) for chunk in chunks]
        for future in futures:
            count, text = future.result()
            failed += count
            if count:
                sys.stdout.write(text + "\n")
                sys.stdout.flush()
                if not options.all:
                    pool.shutdown(cancel_futures=True)
                    break
    sys.stdout.write(f"{failed} of {len(seeds)} histories fail.\n" if options.all or not failed else "")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
