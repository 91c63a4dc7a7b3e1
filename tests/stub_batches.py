"""The stub server's files and batches, as OpenAI has them.

Knows nothing about connections; what answers a batch's items is handed in.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from random import Random
from typing import Any, NamedTuple

from stub_faults import Answer, Behaviour, as_json, error, unit

Ask = Callable[[Mapping[str, Any], str], Awaitable[Answer]]
"""a request's JSON and its key → the answer, counted"""
NUM_CHUNKS = 10
DAY_S = 86_400
ENDED = ("completed", "failed", "expired", "cancelled")
NEVER_RUN = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was not executed: the batch was cancelled.",
}
TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


class File(NamedTuple):
    """A file's JSON and what it holds."""

    said: dict[str, Any]
    content: bytes


class Batches:
    """Files, and batches that run from one to two others."""

    def __init__(self, ask: Ask) -> None:
        self.behaviour = Behaviour()
        self._num_expired = 0
        self._ask = ask
        self._files: dict[str, File] = {}
        self._batches: dict[str, dict[str, Any]] = {}
        self._stops: dict[str, asyncio.Event] = {}
        self._seen: dict[str, int] = {}
        self._numbers = count()
        self._tasks: set[asyncio.Task[None]] = set()

    def add_file(self, name: str, content: bytes, purpose: str) -> Answer:
        """Takes a file."""
        return Answer(200, as_json(self._add(name, content, purpose)))

    def on_file(self, method: str, file_id: str, part: str = "") -> Answer:
        """GET or DELETE of a file, or GET of its content."""
        file = self._files.get(file_id)
        if file is None:
            return error(404, f"No such File object: {file_id}", param="id")
        if part == "content":
            return Answer(200, file.content, "application/octet-stream")
        if method == "DELETE":
            del self._files[file_id]
            return Answer(200, as_json({"id": file_id, "object": "file", "deleted": True}))
        return Answer(200, as_json(file.said))

    def list_files(self) -> Answer:
        """Every file, newest first."""
        files = [file.said for file in reversed(self._files.values())]
        return Answer(200, as_json({"object": "list", "data": files, "has_more": False}))

    def create(self, asked: Mapping[str, Any]) -> Answer:
        """Begins a batch."""
        file = self._files.get(asked.get("input_file_id", ""))
        if file is None:
            said = f"No such File object: {asked.get('input_file_id')}"
            return error(400, said, param="input_file_id")
        if asked.get("endpoint") != "/v1/chat/completions":
            return error(400, "This endpoint is not supported.", param="endpoint")
        batch = _new_batch(f"batch_{len(self._batches):024x}", asked)
        self._batches[batch["id"]] = batch
        self._stops[batch["id"]] = asyncio.Event()
        begun = as_json(batch)  # before it goes on
        task = asyncio.create_task(self._run(batch, file.content))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Answer(200, begun)

    def list_batches(self, after: str | None, limit: int) -> Answer:
        """Batches, newest first, those behind `after`."""
        newest = list(reversed(self._batches))
        start = newest.index(after) + 1 if after in self._batches else 0
        page = [self._batches[batch_id] for batch_id in newest[start : start + limit]]
        said = {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + limit < len(newest),
        }
        return Answer(200, as_json(said))

    def on_batch(self, batch_id: str, part: str = "") -> Answer:
        """GET of a batch, or its cancellation."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return error(404, f"No batch found with id '{batch_id}'.")
        if part == "cancel":
            if batch["status"] in ENDED:
                said = f"Cannot cancel a batch with status '{batch['status']}'."
                return error(409, said)
            _enter(batch, "cancelling")
            self._stops[batch_id].set()
        return Answer(200, as_json(batch))

    def counts(self) -> dict[str, int]:
        """How many batches there were, how many items expired, how many files are left."""
        return {
            "batches": len(self._batches),
            "batch_expired": self._num_expired,
            "files": len(self._files),
        }

    def _add(self, name: str, content: bytes, purpose: str) -> dict[str, Any]:
        said = {
            "id": f"file-{next(self._numbers):024x}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "expires_at": None,
            "filename": name,
            "purpose": purpose,
            "status": "processed",
            "status_details": None,
        }
        self._files[f"{said['id']}"] = File(said, content)
        return said

    async def _run(self, batch: dict[str, Any], content: bytes) -> None:
        behaviour = self.behaviour
        stop = self._stops[batch["id"]]
        await _pause(stop, 0.1 * behaviour.batch_s)
        lines, wrong = _read(content)
        if behaviour.batch_fails:
            wrong = [_wrong("batch_failed", "As the behaviour says.", None)]
        if wrong:
            batch["errors"] = {"object": "list", "data": wrong}
            _enter(batch, "failed")
            return
        batch["request_counts"]["total"] = len(lines)
        if not stop.is_set():
            _enter(batch, "in_progress")
        done: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        size = -(-len(lines) // NUM_CHUNKS)
        for start in range(0, len(lines), size):
            if not stop.is_set():
                await _pause(stop, 0.7 * behaviour.batch_s / NUM_CHUNKS)
            for line in lines[start : start + size]:
                await self._item(batch, line, stop.is_set(), done, failed)
        if not stop.is_set():
            _enter(batch, "finalizing")
        await _pause(stop, 0.2 * behaviour.batch_s)
        for what, made in (("output", done), ("error", failed)):
            Random(batch["id"]).shuffle(made)
            text = b"".join(as_json(line) + b"\n" for line in made)
            if made:
                name = f"{batch['id']}_{what}.jsonl"
                batch[f"{what}_file_id"] = self._add(name, text, "batch_output")["id"]
        is_expired = any((line["error"] or {}).get("code") == "batch_expired" for line in failed)
        ended = "expired" if is_expired else "completed"
        _enter(batch, "cancelled" if stop.is_set() else ended)

    async def _item(
        self,
        batch: dict[str, Any],
        line: Mapping[str, Any],
        is_cancelled: bool,
        done: list[dict[str, Any]],
        failed: list[dict[str, Any]],
    ) -> None:
        """Answers one line: into the output file, or into the error file."""
        key, behaviour = line["custom_id"], self.behaviour
        nth = self._seen[key] = self._seen.get(key, -1) + 1
        await asyncio.sleep(0)
        place = unit("batch", behaviour.seed, key, nth)
        counts = batch["request_counts"]
        row = {"id": f"batch_req_{len(done) + len(failed):012x}", "custom_id": key}
        code = "batch_cancelled" if is_cancelled else "batch_expired"
        if is_cancelled or place < behaviour.batch_expired:
            self._num_expired += not is_cancelled
            counts["failed"] += 1
            said = {"code": code, "message": NEVER_RUN[code]}
            failed.append({**row, "response": None, "error": said})
            return
        if place < behaviour.batch_expired + behaviour.batch_item_error:
            answer = error(500, "The server had an error while processing your request.")
        else:
            answer = await self._ask(line["body"], key)
        body = json.loads(answer.body)
        request_id = body.get("id", row["id"]).replace("chatcmpl-", "req_")
        response = {"status_code": answer.status, "request_id": request_id, "body": body}
        counts["completed" if answer.status == 200 else "failed"] += 1
        # Servers differ in where they put such lines, so half of those that broke are in each file.
        is_output = answer.status == 200 or (answer.status == 500 and unit("file", key) < 0.5)
        (done if is_output else failed).append({**row, "response": response, "error": None})


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits, at most until the batch is cancelled."""
    await asyncio.sleep(0)
    if seconds:
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait([waiting], timeout=seconds)
        waiting.cancel()


def _new_batch(batch_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": asked["endpoint"],
        "errors": None,
        "input_file_id": asked["input_file_id"],
        "completion_window": asked.get("completion_window", "24h"),
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        "expires_at": now + DAY_S,
        **{f"{status}_at": None for status in TIMES},
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": asked.get("metadata"),
    }


def _enter(batch: dict[str, Any], status: str) -> None:
    batch["status"] = status
    batch[f"{status}_at"] = int(time.time())


def _read(content: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """An input file → its lines, and what is wrong with it."""
    lines: list[dict[str, Any]] = []
    wrong: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, raw in enumerate(content.splitlines(), 1):
        try:
            line = json.loads(raw)
            custom_id, _ = line["custom_id"], line["body"]["model"]
        except (ValueError, KeyError, TypeError):
            wrong.append(_wrong("invalid_json_line", "This line is not as it should be.", number))
            continue
        if custom_id in seen:
            wrong.append(_wrong("duplicate_custom_id", "This custom_id was used before.", number))
        seen.add(custom_id)
        lines.append(line)
    if not (lines or wrong):
        wrong.append(_wrong("empty_file", "The file is empty.", None))
    return lines, wrong


def _wrong(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}
