"""Ctrl-C and a request to terminate → one line and the signal's exit code, whenever it comes.

From its import on: what is imported after it takes seconds, in which nothing has been started yet.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from typing import NoReturn

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
GRACE_S = 15.0
"""for what was begun to be ended; in this time further signals change nothing"""


class Stopped(KeyboardInterrupt):
    """A signal asked for the end; its text is meant for the user."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"{SIGNALS[signal.Signals(signum)]}; the same command goes on from here")
        self.code = 128 + signum


def leave_at_once() -> None:
    """From now on a signal ends the process: there is nothing to be ended first."""
    for signum in SIGNALS:
        signal.signal(signum, lambda signum, frame: _leave(signum))


def raise_stopped() -> None:
    """From now on a signal raises `Stopped`, once."""
    asked_at: list[float] = []

    def stop(signum: int, frame: object) -> None:
        if not asked_at:
            asked_at.append(time.monotonic())
            raise Stopped(signum)
        if time.monotonic() - asked_at[0] > GRACE_S:
            _leave(signum)

    for signum in SIGNALS:
        signal.signal(signum, stop)


def end_now(message: str, code: int) -> NoReturn:
    """Ends the process with one line, without waiting for threads that may never end."""
    with suppress(OSError, ValueError, RuntimeError):  # closed, or just being written to
        sys.stdout.flush()
    with suppress(OSError, ValueError, RuntimeError):
        print(" ".join(message.split()), file=sys.stderr, flush=True)
    os._exit(code)


def _leave(signum: int) -> NoReturn:
    end_now(str(Stopped(signum)), 128 + signum)


leave_at_once()
