"""An error that nobody foresaw → one line on the standard error; with a switch, its traceback."""

import os
import sys
import threading
import traceback
from types import TracebackType

from chimera_ray.credentials import redacted
from chimera_ray.text.shown import line

SWITCH = "CHIMERA_RAY_TRACEBACK"
"""environment variable; set to 1, errors that nobody foresaw keep their tracebacks"""
_HERE = os.path.dirname(os.path.abspath(__file__))


def report_unforeseen() -> None:
    """From now on such errors are told in one line, of threads too, unless the switch is set."""
    if os.environ.get(SWITCH) == "1":
        return
    sys.excepthook = lambda kind, exc, trace: _report("the program failed", exc, trace)
    threading.excepthook = lambda args: _report(
        f"a part of the program failed ({args.thread.name if args.thread else 'a thread'})",
        args.exc_value,
        args.exc_traceback,
    )


def _report(what: str, exc: BaseException | None, trace: TracebackType | None) -> None:
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if frame.filename.startswith(_HERE)] or frames
    where = f" at {os.path.relpath(ours[-1].filename, _HERE)}:{ours[-1].lineno}" if ours else ""
    said = " ".join(f"{type(exc).__name__}: {exc}".split())
    print(
        line(redacted(f"{what}: {said}{where}; please report it, with what {SWITCH}=1 shows")),
        file=sys.stderr,
    )
