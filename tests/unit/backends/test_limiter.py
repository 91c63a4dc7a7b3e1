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
    RESTART_S,
    SAFETY,
    Grant,
    Learnt,
    Limiter,
    Report,
)
from chimera_ray.backends.pace import FIRST_WINDOW, WIDENING
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
        self.poll_at(self.asked + (0.01 if self.queue else 0.25 if is_taken else 0.05))


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


CONFIGURED = Limits(requests_per_minute=600, tokens_per_minute=100_000)
SMALL, LARGE = (50, 150), (200, 600)
sizes = pytest.mark.parametrize("tokens", [SMALL, LARGE], ids=["calls bind", "tokens bind"])


def _share_of_limit(run: Run, begin: float, end: float) -> float:
    """What the server took, as a share of the tighter of its limits."""
    calls = run.taken(begin, end) / (end - begin) / (600 / 60)
    return max(calls, run.tokens(begin, end) / (end - begin) / (100_000 / 60))


@sizes
def test_configured_limits_are_used_and_never_met(tokens: tuple[int, int]) -> None:
    run = Run(CONFIGURED, Server(**UNDER_LIMIT), Load(tokens=tokens)).until(180)
    assert _share_of_limit(run, 60, 180) >= 0.95
    assert run.refused_share() < 0.01


@sizes
def test_limits_learnt_from_headers_are_used_and_hardly_met(tokens: tuple[int, int]) -> None:
    run = Run(UNKNOWN, Server(**UNDER_LIMIT, tells=True), Load(tokens=tokens)).until(180)
    assert _share_of_limit(run, 60, 180) >= 0.95
    assert run.refused_share() < 0.01


@pytest.mark.parametrize("retry_after_s", [0.0, 1.0, 5.0])
def test_limit_learnt_from_429s_alone_is_used_and_seldom_met(retry_after_s: float) -> None:
    server = Server(**UNDER_LIMIT, retry_after_s=retry_after_s)
    run = Run(UNKNOWN, server).until(300)
    assert _share_of_limit(run, 60, 300) >= 0.95
    assert run.refused_share() < 0.05
    assert run.refused_share(60) < 0.03


@pytest.mark.parametrize("share", [0.01, 0.1])
@pytest.mark.parametrize("retry_after_s", [0.0, 1.0])
def test_stray_429s_cost_their_share_and_no_more(share: float, retry_after_s: float) -> None:
    load = Load(slots=30)
    calm = Run(UNKNOWN, Server(), load).until(120).taken(10, 120)
    server = Server(stray_share=share, retry_after_s=retry_after_s)
    assert Run(UNKNOWN, server, load).until(120).taken(10, 120) >= (1 - share - 0.03) * calm


def test_stray_429s_never_pause_or_pace_an_endpoint_that_takes_the_rest() -> None:
    run = Run(UNKNOWN, Server(stray_share=0.01, retry_after_s=30), Load(slots=30)).until(60)
    assert all(run.taken(second, second + 1) > 0 for second in range(2, 60))
    assert all(process.is_open for process in run.processes)


def test_storm_stops_everyone_then_all_is_as_before() -> None:
    run = Run(UNKNOWN, Server(storm=(30, 40), retry_after_s=5), Load(slots=30)).until(80)
    before = run.taken(20, 30) / 10
    tried = [when for when, _, _ in run.log if 30 <= when < 40]
    assert not [when for when in tried if 31 <= when < 35]  # Retry-After, from the first 429s on
    assert len(tried) < 2.5 * before
    # the last pause ends by 45 + jitter, and then the way back takes RETURN_S
    assert run.taken(57, 80) / 23 >= 0.95 * before


def test_calls_larger_than_the_bucket_start_at_the_rate_of_the_tokens() -> None:
    run = Run(CONFIGURED, Server(**UNDER_LIMIT), Load(tokens=(3_000, 6_000))).until(240)
    assert _share_of_limit(run, 60, 240) >= 0.9
    assert run.refused_share() < 0.01


@pytest.mark.parametrize(
    "estimate",
    [lambda tokens: tokens // 2, lambda tokens: 3 * tokens, lambda _: 400],
    ids=["half", "threefold", "the mean"],
)
def test_wrong_estimates_are_made_good(estimate: Callable[[int], int]) -> None:
    load = Load(tokens=LARGE, estimate=estimate)
    run = Run(CONFIGURED, Server(**UNDER_LIMIT), load).until(180)
    assert 0.93 <= _share_of_limit(run, 60, 180) <= 1.0
    assert run.refused_share() < 0.01


def test_max_in_flight_is_filled_and_never_exceeded() -> None:
    run = Run(Limits(max_in_flight=20, is_adaptive=False), Server(), Load(slots=50)).until(60)
    assert run.most == 20
    assert run.taken(10, 60) >= 0.9 * 50 * 20 / 2  # of 20 places for calls of 2 s
    assert max(p.num_granted for p in run.processes) < 1.2 * min(
        p.num_granted for p in run.processes
    )


def test_unlimited_and_not_adaptive_is_open_at_once() -> None:
    limiter = Limiter(Limits(is_adaptive=False), 0.0)
    assert limiter.exchange(Report("a", (100,) * 512), 0.0) == Grant(512, 0.25, True)


def test_unknown_endpoint_gets_a_window_that_successes_widen_until_it_is_open() -> None:
    limiter, now, in_flight = Limiter(UNKNOWN, 0.0), 0.0, 0
    for _ in range(100):
        now += 0.05
        in_flight += limiter.exchange(Report("a", (1,) * 200, in_flight), now).num_calls
    assert in_flight == FIRST_WINDOW
    grant = limiter.exchange(Report("a", (1,) * 500, 0, num_ok=FIRST_WINDOW), now)
    assert (grant.num_calls, grant.is_open) == ((1 + WIDENING) * FIRST_WINDOW, False)
    for _ in range(4):
        grant = limiter.exchange(Report("a", (1,) * 50, 0, num_ok=grant.num_calls), now)
    assert grant.is_open


def test_dead_holder_gives_its_places_back() -> None:
    limiter = Limiter(Limits(max_in_flight=4, is_adaptive=False), 0.0)
    assert limiter.exchange(Report("dead", (1,) * 4), 0.0).num_calls == 4
    assert limiter.exchange(Report("alive", (1,) * 4), DEAD_S - 1).num_calls == 0
    assert limiter.exchange(Report("alive", (1,) * 4), DEAD_S + 1).num_calls == 4


def test_waiting_holder_that_died_stops_nobody() -> None:
    limiter = Limiter(Limits(requests_per_minute=600, is_adaptive=False), 0.0)
    limiter.exchange(Report("dead", (1,) * 100), 0.0)
    steps = [0.1 * step for step in range(1, 301)]
    granted = sum(limiter.exchange(Report("alive", (1,) * 100), now).num_calls for now in steps)
    assert granted >= 0.95 * 0.98 * 10 * 30


def test_new_limiter_grants_no_burst() -> None:
    limiter = Limiter(CONFIGURED, 1_000.0)
    assert limiter.exchange(Report("a", (10,) * 100, 50), 1_000.0).num_calls == 0
    assert limiter.exchange(Report("a", (10,) * 100, 50), 1_000.5).num_calls == 4


def test_new_limiter_waits_until_all_holders_have_told_what_is_in_flight() -> None:
    limiter = Limiter(Limits(max_in_flight=10, is_adaptive=False), 0.0)
    assert limiter.exchange(Report("a", (1,) * 10, 4), 0.1).num_calls == 0
    assert limiter.exchange(Report("b", (1,) * 10, 5), 3.0).num_calls == 0
    assert limiter.exchange(Report("a", (1,) * 10, 4), RESTART_S).num_calls == 1


def test_short_supply_is_shared_in_proportion_to_what_is_wanted() -> None:
    limiter = Limiter(Limits(requests_per_minute=600, is_adaptive=False), 0.0)
    got = {"greedy": 0, "large": 0, "small": 0}
    for step in range(6_000):
        wants = {"greedy": (True, 100), "large": (step % 5 == 0, 100)}
        for name, (is_due, num) in {**wants, "small": (step % 10 == 0, 50)}.items():
            if is_due:
                got[name] += limiter.exchange(Report(name, (1,) * num), step / 100).num_calls
    assert got["greedy"] == pytest.approx(got["large"], rel=0.1)
    assert got["large"] == pytest.approx(2 * got["small"], rel=0.1)
    assert sum(got.values()) >= 0.95 * 0.98 * 600


@pytest.mark.parametrize("remaining", [0.0, 3.0])
def test_nothing_left_by_the_headers_delays_until_the_reset(remaining: float) -> None:
    limiter = Limiter(UNKNOWN, 0.0)
    learnt = Learnt(600.0, None, remaining, None, 20.0, None)
    granted = limiter.exchange(Report("a", (1,) * 50, learnt=learnt), 0.0).num_calls
    for step in range(1, 20):
        granted += limiter.exchange(Report("a", (1,) * 50), float(step)).num_calls
    assert granted == remaining
    assert limiter.exchange(Report("a", (1,) * 50), 20.1).num_calls > 0


def test_tighter_of_configured_and_told_limits_holds() -> None:
    for told, per_s in [(300.0, 5.0), (6_000.0, 10.0)]:
        limiter = Limiter(CONFIGURED, 0.0)
        limiter.exchange(Report("a", learnt=Learnt(limit_requests=told)), 0.0)
        steps = [0.1 * step for step in range(1, 601)]
        got = sum(limiter.exchange(Report("a", (1,) * 50), now).num_calls for now in steps)
        assert got == pytest.approx(SAFETY * per_s * 60, rel=0.02)


def test_idle_is_the_time_since_the_last_report() -> None:
    limiter = Limiter(UNKNOWN, 5.0)
    assert limiter.idle_s(7.0) == 2.0
    limiter.exchange(Report("a"), 8.0)
    assert limiter.idle_s(8.5) == 0.5


Step = tuple[float, int, int, int, int, float]
steps = st.tuples(
    st.floats(0, 3), st.integers(0, 2), st.integers(0, 60), st.integers(0, 9), st.integers(0, 9),
    st.floats(0, 90),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(rpm=st.floats(1, 6_000), is_adaptive=st.booleans(), told=st.lists(steps, max_size=60))
def test_no_window_is_granted_more_than_the_limit_and_one_bucket(
    rpm: float, is_adaptive: bool, told: list[Step]
) -> None:
    limiter = Limiter(Limits(requests_per_minute=rpm, is_adaptive=is_adaptive), 0.0)
    now, granted = 0.0, []
    for passed_s, holder, wanted, ok, limited, pause_s in told:
        now += passed_s
        report = Report(str(holder), (7,) * wanted, ok, ok, limited, pause_s=pause_s)
        grant = limiter.exchange(report, now)
        assert 0 <= grant.num_calls <= wanted
        assert 0 < grant.again_in_s <= 5
        assert not grant.is_open
        granted.append((now, grant.num_calls))
    for i, (begin, _) in enumerate(granted):
        num = 0
        for end, calls in granted[i:]:
            num += calls
            assert num <= rpm / 60 * (end - begin) + max(1.0, rpm / 60) + 1e-6
