"""Each real reply of a small model is read as somebody who looked at it says that it must be."""

import json
from pathlib import Path
from typing import Any

import pytest
from reply_decisions import decide

from chimera_ray.config import ROLES
from chimera_ray.llm import Reply

PATH = Path(__file__).parents[2] / "data/replies/real_smollm2.jsonl"
LINES: list[dict[str, Any]] = [json.loads(line) for line in PATH.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    "line", LINES, ids=(f"{place}-{line['stage']}" for place, line in enumerate(LINES, start=1))
)
def test_real_reply_is_decided_as_it_was_judged(line: dict[str, Any]) -> None:
    reply = Reply(line["text"], line["finish_reason"])
    made = decide(line["stage"], line["role"], line["row"], reply)
    assert (made.status, made.value) == (line["status"], line["value"]), line["why"]


def test_real_replies_are_many_of_every_role_and_each_was_looked_at() -> None:
    assert len(LINES) >= 100
    assert {line["role"] for line in LINES} == set(ROLES)
    assert [place for place, line in enumerate(LINES, start=1) if not line["why"]] == []
