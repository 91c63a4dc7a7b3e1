"""Two recipes that share most of their work, started together on one output_dir over HTTP.

    python benchmarks/two_recipes.py --drafts 4

The second one drafts one problem more for each topic. Printed is how many replies the server gave
twice for the same call, out of those that both runs rest on.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from remote_setup import CALM, CONSOLE, ENDED_S, config_of, records_of, started, verdict, words_of
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.config import Config


def main() -> None:
    """Runs both to their ends and prints what was paid twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drafts", type=int, default=4, help="for each topic, of the first recipe")
    parser.add_argument("--slots", type=int, default=32, help="rows in flight at each stage")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, StubServer(Behaviour(**CALM)) as server:
        output_dir = Path(folder, "out")
        words = [
            words_of(
                output_dir,
                server.url,
                f"recipe.name={name}",
                f"recipe.params.plan_drafts.drafts_per_topic={wanted.drafts + more}",
                f"runtime.pool.max_in_flight={wanted.slots}",
            )
            for more, name in enumerate(("one", "two"))
        ]
        logs = [Path(folder, name) for name in ("one.log", "two.log")]
        with started(words[0], logs[0]) as one, started(words[1], logs[1]) as two:
            codes = [run.wait(timeout=ENDED_S) for run in (one, two)]
        for code, log in zip(codes, logs, strict=True):
            if code:
                sys.exit(f"BROKEN: a run ended with {code}:\n{log.read_text()[-3_000:]}")
        num_twice = sum(count.finished > 1 for count in server.keys().values())
        runs = [_requests(config_of(said)) for said in words]
        counts = server.counts()
        CONSOLE.print(
            f"replies given: {counts['finished']}; calls behind one: {len(runs[0])}, behind two: "
            f"{len(runs[1])}, behind both: {len(runs[0] & runs[1])}"
        )
        verdict(num_twice <= wanted.slots, f"{num_twice} calls paid twice, {wanted.slots} allowed")


def _requests(config: Config) -> set[str]:
    """A run → the ids of the replies that its rows rest on."""
    stages = records_of(config).values()
    return {call.request_id for rows in stages for row in rows if row for call in row.calls}


if __name__ == "__main__":
    main()
