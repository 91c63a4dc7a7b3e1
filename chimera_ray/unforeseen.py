"""What nobody foresaw, or a log says → one line each on the standard error.

With a switch, errors keep their tracebacks.
"""

import logging
import os
import sys
import threading
import traceback
from types import TracebackType

from chimera_ray.credentials import redacted
from chimera_ray.text.shown import line, shortened

SWITCH = "CHIMERA_RAY_TRACEBACK"
"""environment variable; set to 1, errors that nobody foresaw keep their tracebacks"""
MAX_CHARS = 2_000
"""of what others say of an error, which may have any length"""
_HERE = os.path.dirname(os.path.abspath(__file__))


def report_unforeseen() -> None:
    """From now on each is told in one line, errors of threads too, unless the switch is set."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    if os.environ.get(SWITCH) == "1":
        return
    sys.excepthook = lambda kind, exc, trace: _report("the program failed", exc, trace)
    threading.excepthook = lambda args: _report(
        f"a part of the program failed ({args.thread.name if args.thread else 'a thread'})",
        args.exc_value,
        args.exc_traceback,
    )


def in_one_line(text: str) -> str:
    """A text → one line of it, without secrets, safe for a terminal and not longer than wanted."""
    return line(shortened(redacted(" ".join(text.split())), MAX_CHARS))


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """A record → its line, without secrets and safe for a terminal."""
        if os.environ.get(SWITCH) == "1":
            return super().format(record)
        record.message = record.getMessage()
        return in_one_line(self.formatMessage(record))


def _report(what: str, exc: BaseException | None, trace: TracebackType | None) -> None:
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if frame.filename.startswith(_HERE)] or frames
    where = f" at {os.path.relpath(ours[-1].filename, _HERE)}:{ours[-1].lineno}" if ours else ""
    said = in_one_line(f"{what}: {type(exc).__name__}: {exc}")
    print(f"{said}{line(where)}; please report it, with what {SWITCH}=1 shows", file=sys.stderr)
