"""The command `tap-dynamic`, and `python -m tap_dynamic`."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the tap. Whatever ends it is reported in one line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the tap handles it: Python's own handler would print a traceback out of an import.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from tap_dynamic.singer.command import run  # noqa: PLC0415 (takes half a second)

    run()


if __name__ == "__main__":
    main()
