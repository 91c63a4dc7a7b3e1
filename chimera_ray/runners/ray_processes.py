"""The processes of a Ray that this process started: seen while they live, ended without a rest.

Knows nothing of what Ray does: processes alone.
"""

import ctypes
import sys
from pathlib import Path

import psutil

CRUCIAL = ("gcs_server", "raylet")
"""without one of them nothing goes on, and Ray itself takes a minute to say so"""
END_S = 5.0
_SET_CHILD_SUBREAPER = 36
"""of Linux's `prctl`"""


class RayProcesses:
    """What Ray starts below this process, from the moment that this is made."""

    def __init__(self) -> None:
        """Sees to it that what outlives its parent comes to this process."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._self = psutil.Process()
        self._others = {child.pid for child in self._self.children(recursive=True)}
        self._crucial: dict[str, psutil.Process] = {}

    def lost(self) -> str:
        """Which crucial process has ended, in words; empty: none of those that came up."""
        if len(self._crucial) < len(CRUCIAL):
            self._look()
        for name, process in self._crucial.items():
            if not _is_alive(process):
                return f"its process {name} ended (pid {process.pid})"
        return ""

    def end(self) -> None:
        """Ends all of them, at once."""
        left = [
            child for child in self._self.children(recursive=True) if child.pid not in self._others
        ]
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, END_S)

    def _look(self) -> None:
        for child in self._self.children():
            try:
                name = Path(child.exe()).name
            except psutil.Error:  # it ended in this moment, or is no more than a zombie
                continue
            if name in CRUCIAL and child.pid not in self._others:
                self._crucial.setdefault(name, child)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
