"""The stub server's requests: each gets its answer, its fault or its limit, and is counted.

Writes to the transport itself: broken answers need that, and whole ones are cheaper so.
"""

import asyncio
import json
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from http import HTTPStatus
from itertools import count
from typing import Any

from aiohttp import web
from pydantic import ValidationError
from stub_batches import Batches
from stub_counts import KeyCount, Tally, added
from stub_events import CUT_STREAMS, STREAMS, Form, chat_request, form_of, sent_as
from stub_faults import (
    FLAT_FAULTS,
    ID,
    UNUSABLE,
    Answer,
    Behaviour,
    Bucket,
    as_json,
    draw,
    error,
    flat,
    rates_of,
    spoiled,
)
from stub_quirks import QUIRKS, UNUSABLE_QUIRKS, quirky
from stub_replies import CREATED, Made, Teachers, limited, prompt_tokens

REASONS = {status.value: status.phrase for status in HTTPStatus}
PLACE = ID.encode()
NO_ANSWER = Answer(0, b"")
CALL_PATHS = frozenset({"/v1/chat/completions", "/v1/responses"})
EVENTS_S = 0.05
"""between two writes of events"""
QUIRK = "quirk:"
"""before a quirk's name, where a fault's could stand"""
STREAM = "stream:"
"""before the name of a way to send events, in the same place"""


class _Sent(web.StreamResponse):
    """An answer that is already on its way; aiohttp has nothing left to send."""

    def __init__(self, keep_alive: bool) -> None:
        super().__init__()
        self._stays = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays."""
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing to prepare."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing to end."""


class Stub:
    """Answers requests as the behaviour says, and counts them."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._numbers, self._prefix = count(), os.urandom(4).hex()
        self._in_flight = 0
        self._tally = Tally()
        self._batches = Batches(self._batch_item)
        self._apply(behaviour, set(Behaviour.model_fields))

    def _apply(self, behaviour: Behaviour, changed: set[str]) -> None:
        """Takes a behaviour; what is used up stays so unless its field is among the changed."""
        self._teachers = Teachers(behaviour)  # first: it may find its fields wrong
        self._behaviour = self._batches.behaviour = behaviour
        self._rates = rates_of(behaviour)
        if behaviour.quirk and behaviour.quirk not in QUIRKS:
            raise KeyError(behaviour.quirk)
        if behaviour.stream_quirk not in STREAMS:
            raise KeyError(behaviour.stream_quirk)
        self._sending = behaviour.stream_quirk
        plain: dict[str, object] = {"banned": (), "rejects": (), "max_prompt_chars": None}
        plain |= {"supports_schema": True, "stream": "taken"}
        is_plain = all(getattr(behaviour, name) == value for name, value in plain.items())
        self._needs_json = behaviour.mode == "simulated" or not is_plain
        if "script" in changed:
            self._script = deque(behaviour.script)
        if "quota_calls" in changed:
            self._num_granted = 0
        if changed & {"rpm", "tpm", "burst_s"}:
            rates = {"requests": behaviour.rpm, "tokens": behaviour.tpm}
            self._buckets = {
                what: Bucket(rate, behaviour.burst_s) for what, rate in rates.items() if rate
            }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """A request → its answer, sent."""
        path = request.path
        if path in CALL_PATHS and request.method == "POST":
            return await self._chat(request)
        if not path.startswith("/v1/"):
            answer = self._control(request.method, path, await request.read())
        else:
            denied = self._teachers.denied(request.headers.get("Authorization", ""))
            answer = denied or await self._other(request, *path.split("/")[2:])
        return await self._send(request, answer, self._new_id())

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        tally, body = self._tally, await request.read()
        form, behaviour = form_of(request.path, body), self._behaviour
        key = request.headers.get("Idempotency-Key") or blake2b(body, digest_size=16).hexdigest()
        nth = tally.arrive(key, request.get_extra_info("peername")[1])
        self._in_flight += 1
        tally.max_in_flight = max(tally.max_in_flight, self._in_flight)
        fault, answer, is_sent, reply_id = "", NO_ANSWER, False, self._new_id()
        try:
            denied = self._teachers.denied(request.headers.get("Authorization", ""))
            if denied is None:
                fault = self._fault(key, nth)
                tally.faults.update([fault] if fault else [])
            answer = denied or await self._answer(body, key, fault, form)
            sending = fault.removeprefix(STREAM) if fault.startswith(STREAM) else self._sending
            answer = sent_as(answer, form, sending, behaviour.event_chars)
            if answer.status:
                tally.statuses[str(answer.status)] += 1
                tally.errors.update([answer.code] if answer.code else [])
            response = await self._send(request, answer, reply_id, fault, sending)
            is_usable = fault not in UNUSABLE and fault.removeprefix(QUIRK) not in UNUSABLE_QUIRKS
            if form.is_streamed:
                is_usable = is_usable and sending not in CUT_STREAMS
            is_sent = answer.status == 200 and is_usable and not _is_gone(request)
            return response
        finally:
            self._in_flight -= 1
            if is_sent:
                tally.finished += 1
                tally.usage = added(tally.usage, answer.usage)
                tally.finish(key, reply_id)
            else:
                tally.wasted = added(tally.wasted, answer.usage)

    def _fault(self, key: str, nth: int) -> str:
        if self._script:
            return self._script.popleft().removeprefix("ok")
        if self._behaviour.quirk:
            return f"{QUIRK}{self._behaviour.quirk}"
        return draw(self._behaviour, self._rates, key, nth)

    async def _answer(self, body: bytes, key: str, fault: str, form: Form) -> Answer:
        """A request's body, the fault that it meets and its form → its answer, when it is due."""
        if fault.startswith("status:") or fault == "limited":
            return flat(fault, self._behaviour)
        if fault == "hung":
            await asyncio.Event().wait()  # until the client goes, which cancels this
        asked: dict[str, Any] = {}
        if self._needs_json:
            try:
                asked = json.loads(body)
            except ValueError:
                asked = {}
            if not form.is_chat:
                asked = chat_request(asked)
            if refused := self._teachers.refused(asked):
                return refused
        quota = self._behaviour.quota_calls
        if quota is not None and self._num_granted >= quota:
            code = "insufficient_quota"
            return error(429, "You exceeded your current quota.", code, kind=code)
        made = await self._granted(asked, key, is_constant=not fault)
        if isinstance(made, Answer):
            return made
        self._num_granted += 1
        wait_s = self._teachers.wait_s(key) if made is None else made.wait_s
        gateway_s = self._behaviour.gateway_s
        if gateway_s is not None and not form.is_streamed and wait_s > gateway_s:
            await asyncio.sleep(gateway_s)
            usage = self._teachers.fixed_usage() if made is None else made.usage
            status = 0 if self._behaviour.gateway_closes else 504
            return Answer(status, b"<html>504 Gateway Time-out</html>", "text/html", usage=usage)
        later_s = wait_s * self._behaviour.stream_share if form.is_streamed else 0.0
        if wait_s:
            await asyncio.sleep(wait_s - later_s)
        if fault == "dropped":
            return NO_ANSWER
        return self._made(made, fault)._replace(over_s=later_s)

    def _made(self, made: Made | None, fault: str) -> Answer:
        """A reply (None: the constant one) and the fault that it meets → its answer."""
        if fault in FLAT_FAULTS:
            return flat(fault, self._behaviour)
        if made is None:
            return Answer(200, self._teachers.fixed, usage=self._teachers.fixed_usage())
        if made.reply is None:
            return error(500, "The server had an error while processing your request. Sorry!")
        if fault.startswith(QUIRK):
            return quirky(fault.removeprefix(QUIRK), made.reply, made.usage)
        return spoiled(fault, made.reply, made.usage, self._behaviour)

    async def _granted(
        self, asked: dict[str, Any], key: str, is_constant: bool
    ) -> Made | Answer | None:
        """A request → its reply (None: the constant one), or the limit that it meets."""
        behaviour, buckets = self._behaviour, self._buckets
        most = behaviour.max_concurrent
        if most is not None and self._in_flight > most:
            return limited("concurrency", 1.0, behaviour)
        requests, tokens = buckets.get("requests"), buckets.get("tokens")
        if requests is not None and (wait_s := requests.wait_s(1)):
            return limited("requests", wait_s, behaviour)
        if behaviour.mode == "fixed" and is_constant:
            made, usage = None, self._teachers.fixed_usage()
        else:
            made = await self._teachers.make(asked, key)
            usage = made.usage
        if tokens is not None:
            num_prompt = prompt_tokens(asked) if asked else usage.input_tokens
            if wait_s := tokens.wait_s(num_prompt + usage.output_tokens):
                return limited("tokens", wait_s, behaviour)
            tokens.take(num_prompt + usage.output_tokens)
        if requests is not None:
            requests.take(1)
        return made

    async def _batch_item(self, asked: Mapping[str, Any], key: str) -> Answer:
        """One line of a batch, which knows no faults, waiting times and limits → its answer."""
        tally = self._tally
        refused = self._teachers.refused(asked)
        made = None if refused else await self._teachers.make(asked, key)
        tally.keys.setdefault(key, KeyCount()).requests += 1
        if made is None or made.reply is None:
            tally.batch_failed += 1
            return refused or error(500, "The server had an error while processing your request.")
        reply_id = self._new_id()
        tally.batch_finished += 1
        tally.batch_usage = added(tally.batch_usage, made.usage)
        tally.finish(key, reply_id)
        return Answer(200, as_json(made.reply).replace(PLACE, reply_id.encode(), 1))

    def _control(self, method: str, path: str, body: bytes) -> Answer:
        """The server's own paths → what they say or do."""
        match method, path:
            case "GET", "/_counts":
                return Answer(200, as_json(self._tally.said() | self._batches.counts()))
            case "GET", "/_keys":
                return Answer(200, as_json({k: asdict(v) for k, v in self._tally.keys.items()}))
            case "POST", "/_reset":
                self._tally = Tally()
            case "POST", "/_control":
                changes = json.loads(body)
                try:
                    self._apply(
                        Behaviour.model_validate({**self._behaviour.model_dump(), **changes}),
                        set(changes),
                    )
                except ValidationError as exc:
                    return error(400, str(exc))
            case _:
                return _unknown(method, path)
        return Answer(200, b"{}")

    async def _other(self, request: web.BaseRequest, *parts: str) -> Answer:
        """Models, files and batches → their answers."""
        batches = self._batches
        match request.method, *parts:
            case "GET", "models":
                known = {"object": "model", "created": CREATED, "owned_by": "stub"}
                models = [{"id": name, **known} for name in self._teachers.names]
                return Answer(200, as_json({"object": "list", "data": models}))
            case "POST", "files":
                form = await request.post()
                file = form["file"]
                if not isinstance(file, web.FileField) or form.get("purpose") != "batch":
                    return error(400, "A file for the purpose 'batch' is wanted.", param="purpose")
                return batches.add_file(file.filename, file.file.read(), "batch")
            case "GET", "files":
                return batches.list_files()
            case ("GET" | "DELETE", "files", file_id) | ("GET", "files", file_id, "content"):
                return batches.on_file(request.method, file_id, "".join(parts[2:]))
            case "POST", "batches":
                return batches.create(await request.json())
            case "GET", "batches":
                query = request.query
                return batches.list_batches(query.get("after"), int(query.get("limit", 20)))
            case ("GET", "batches", batch_id) | ("POST", "batches", batch_id, "cancel"):
                return batches.on_batch(batch_id, "".join(parts[2:]))
        return _unknown(request.method, request.path)

    def _new_id(self) -> str:
        return f"{self._prefix}{next(self._numbers):08x}"

    async def _send(
        self,
        request: web.BaseRequest,
        answer: Answer,
        reply_id: str,
        fault: str = "",
        sending: str = "",
    ) -> web.StreamResponse:
        """An answer → the same, written until the last byte is with the system."""
        transport = request.transport
        if transport is None or answer.status == 0:
            if transport is not None:
                transport.close()
            return GONE
        body = answer.body.replace(PLACE, reply_id.encode(), 1)
        length = "transfer-encoding: chunked" if answer.events else f"content-length: {len(body)}"
        lines = [
            f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Unknown')}",
            f"content-type: {answer.content_type}",
            length,
            f"x-request-id: req_{reply_id}",
            *answer.headers,
        ]
        if self._behaviour.sends_limit_headers:
            for what, bucket in self._buckets.items():
                lines.extend(bucket.headers(what))
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        transport.set_write_buffer_limits(high=0)  # so that drain waits for the last byte
        if answer.events:
            transport.write(head)
            is_cut = fault == "half_sent" or sending == "cut"
            if fault == "half_sent":
                answer = answer._replace(events=answer.events[: len(answer.events) // 2])
            return await self._send_events(request, answer, reply_id, is_cut, sending == "hangs")
        is_half = fault == "half_sent"
        transport.write(head + (body[: len(body) // 2] if is_half else body))
        await request.writer.drain()
        if is_half:
            transport.abort()
        return GONE if is_half or not request.keep_alive else STAYS

    async def _send_events(
        self,
        request: web.BaseRequest,
        answer: Answer,
        reply_id: str,
        is_cut: bool,
        is_hung: bool,
    ) -> web.StreamResponse:
        """A stream's events → the same, written one after the other, its head being so already."""
        events, transport = answer.events, request.transport
        assert transport is not None
        num_groups = max(1, min(len(events), round(answer.over_s / EVENTS_S)))
        for nth in range(num_groups):
            first, end = (len(events) * at // num_groups for at in (nth, nth + 1))
            content = b"".join(events[first:end]).replace(PLACE, reply_id.encode())
            if answer.over_s:
                await asyncio.sleep(answer.over_s / num_groups)
            if transport.is_closing():
                return GONE
            transport.write(b"%x\r\n%b\r\n" % (len(content), content))
            await request.writer.drain()
        if is_hung:
            await asyncio.Event().wait()  # until the client goes, which cancels this
        if is_cut:
            transport.close()
            return GONE
        transport.write(b"0\r\n\r\n")
        await request.writer.drain()
        return STAYS if request.keep_alive else GONE


def _is_gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()


def _unknown(method: str, path: str) -> Answer:
    return error(404, f"Invalid URL ({method} {path})", "unknown_url")


STAYS, GONE = _Sent(True), _Sent(False)
