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
        signal.signal(signum, _leave)


def raise_stopped() -> None:
    """From now on a signal raises `Stopped`, once."""
    asked_at: list[float] = []

    def stop(signum: int, frame: object) -> None:
        if not asked_at:
            asked_at.append(time.monotonic())
            raise Stopped(signum)
        if time.monotonic() - asked_at[0] > GRACE_S:
            _leave(signum, frame)

    for signum in SIGNALS:
        signal.signal(signum, stop)


def end(message: str, code: int, *, at_once: bool = False) -> NoReturn:
    """Ends the process with one line; at once: without waiting for threads, which may never end."""
    for stream, text in ((sys.stdout, ""), (sys.stderr, " ".join(message.split()) + "\n")):
        with suppress(OSError, ValueError, RuntimeError):  # closed, or just being written to
            stream.write(text)
            stream.flush()
    os._exit(code) if at_once else sys.exit(code)


def _leave(signum: int, frame: object) -> NoReturn:
    end(str(Stopped(signum)), 128 + signum, at_once=True)


leave_at_once()
