"""The limiter, in virtual time: three processes call a simulated endpoint for some minutes."""

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.backends.limiter import (
    DEAD_S,
    FIRST_WINDOW,
    RESTART_S,
    SAFETY,
    Grant,
    Learnt,
    Limiter,
    Report,
)
from chimera_ray.model_config import Limits

UNKNOWN = Limits()
REFUSED_AFTER_S = 0.05
UNDER_LIMIT = {"rpm": 600.0, "tpm": 100_000.0}


@dataclass
class Server:
    """Two token buckets, refilled all the time; some 429s for no reason; storms."""

    rpm: float = math.inf
    tpm: float = math.inf
    burst_s: float = 6.0
    stray_share: float = 0.0
    storm: tuple[float, float] = (0.0, 0.0)
    retry_after_s: float = 0.0
    tells: bool = False
    filled: float = 0.0
    calls: float = field(init=False)
    tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self.calls, self.tokens = self.rpm * self.burst_s / 60, self.tpm * self.burst_s / 60

    def takes(self, tokens: int, now: float, random: Random) -> bool:
        gone_s, self.filled = now - self.filled, now
        self.calls = min(self.rpm * self.burst_s / 60, self.calls + self.rpm / 60 * gone_s)
        self.tokens = min(self.tpm * self.burst_s / 60, self.tokens + self.tpm / 60 * gone_s)
        if self.storm[0] <= now < self.storm[1] or random.random() < self.stray_share:
            return False
        # A call larger than the bucket is taken from a full one, as everywhere.
        if self.calls < 1 or self.tokens < min(tokens, self.tpm * self.burst_s / 60):
            return False
        self.calls, self.tokens = self.calls - 1, self.tokens - tokens
        return True

    def headers(self) -> Learnt | None:
        if not self.tells:
            return None
        full, full_tokens = (limit * self.burst_s / 60 for limit in (self.rpm, self.tpm))
        return Learnt(
            self.rpm,
            self.tpm,
            max(0.0, self.calls // 1),
            max(0.0, self.tokens // 1),
            (full - self.calls) / self.rpm * 60,
            (full_tokens - self.tokens) / self.tpm * 60,
        )


@dataclass
class Load:
    """What the processes do: so many slots each, all busy all the time."""

    num_holders: int = 3
    slots: int = 100
    latency_s: tuple[float, float] = (1.0, 3.0)
    tokens: tuple[int, int] = (50, 150)
    estimate: Callable[[int], int] = lambda tokens: tokens


class Process:
    """One holder: slots, calls that wait for their turn, what is not yet told."""

    def __init__(self, run: "Run", name: str) -> None:
        self.run, self.name = run, name
        self.queue: deque[tuple[int, int]] = deque()
        self.retries: deque[tuple[int, int]] = deque()
        self.active = self.in_flight = 0
        self.num_granted = 0
        self.is_open, self.is_told, self.is_dead = False, False, False
        self.asked, self.next_poll = -1.0, math.inf
        self.forget()

    def forget(self) -> None:
        self.ok = self.limited = self.over = 0
        self.pause_s, self.learnt = 0.0, None

    def fill(self) -> None:
        while self.active < self.run.load.slots and not self.is_dead:
            self.active += 1
            fresh = (self.run.random.randint(*self.run.load.tokens), 0)
            self.queue.append(self.retries.popleft() if self.retries else fresh)
        if self.is_open:
            while self.queue:
                self.start()
        elif self.queue and not self.is_told:
            self.poll_at(self.asked + 0.01)

    def poll_at(self, when: float) -> None:
        when = max(when, self.run.now)
        if when < self.next_poll:
            self.next_poll = when
            self.run.at(when, lambda: self.poll(when))

    def poll(self, when: float) -> None:
        if when != self.next_poll or self.is_dead:
            return
        run, estimate = self.run, self.run.load.estimate
        wanted = tuple(estimate(tokens) for tokens, _ in list(self.queue)[:512])
        grant = run.exchange(
            Report(
                self.name, wanted, self.in_flight, self.ok, self.limited, self.over,
                self.pause_s, self.learnt,
            )
        )  # fmt: skip
        self.forget()
        self.asked, self.next_poll, self.is_open = run.now, math.inf, grant.is_open
        self.num_granted += grant.num_calls
        self.is_told = grant.num_calls < len(wanted)
        for _ in range(grant.num_calls):
            self.start()
        self.fill()
        self.poll_at(run.now + (grant.again_in_s if self.queue else 0.25))

    def start(self) -> None:
        run = self.run
        tokens, tries = self.queue.popleft()
        self.in_flight += 1
        run.most = max(run.most, sum(p.in_flight for p in run.processes))
        is_taken = run.server.takes(tokens, run.now, run.random)
        run.log.append((run.now, is_taken, tokens))
        after_s = run.random.uniform(*run.load.latency_s) if is_taken else REFUSED_AFTER_S
        learnt = run.server.headers()
        run.at(run.now + after_s, lambda: self.end(tokens, tries, is_taken, learnt))

    def end(self, tokens: int, tries: int, is_taken: bool, learnt: Learnt | None) -> None:
        if self.is_dead:
            return
        run, asked_s = self.run, self.run.server.retry_after_s
        self.active, self.in_flight = self.active - 1, self.in_flight - 1
        self.over += (tokens if is_taken else 0) - run.load.estimate(tokens)
        self.learnt = learnt
        if is_taken:
            self.ok += 1
        else:
            self.limited += 1
            self.pause_s = max(self.pause_s, asked_s)
            own_s = run.random.uniform(0.5, 1) * min(60.0, 2.0**tries)
            wait_s = asked_s + run.random.random() * min(1, 0.1 * asked_s) if asked_s else own_s
            run.at(run.now + wait_s, lambda: self.retries.append((tokens, tries + 1)))
        self.fill()
        self.poll_at(max(run.now, self.asked + (0.01 if self.queue else 0.25)))


class Run:
    """Events in the order of their time."""

    def __init__(self, limits: Limits, server: Server, load: Load | None = None) -> None:
        self.limits, self.server, self.load = limits, server, load or Load()
        self.random, self.now, self.most = Random(1), 0.0, 0
        self.limiter = Limiter(limits, 0.0)
        self.log: list[tuple[float, bool, int]] = []
        self.num_exchanges = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.processes = [Process(self, f"process {i}") for i in range(self.load.num_holders)]
        for process in self.processes:
            process.fill()

    def at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def exchange(self, report: Report) -> Grant:
        self.num_exchanges += 1
        return self.limiter.exchange(report, self.now)

    def until(self, end: float) -> "Run":
        while self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
        return self

    def taken(self, begin: float, end: float) -> int:
        return sum(ok for when, ok, _ in self.log if begin <= when < end)

    def tokens(self, begin: float, end: float) -> int:
        return sum(tokens for when, ok, tokens in self.log if ok and begin <= when < end)

    def refused_share(self, begin: float = 0, end: float = math.inf) -> float:
        outcomes = [ok for when, ok, _ in self.log if begin <= when < end]
        return 1 - sum(outcomes) / len(outcomes)
