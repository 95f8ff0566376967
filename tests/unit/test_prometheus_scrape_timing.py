"""Learning the rhythm of the scrapes, against simulated servers with their own clock and delays."""

import random
from itertools import pairwise

import pytest

from modelrollout.prometheus.scrape_timing import ScrapeTiming


class Server:
    """Scrapes every `period` seconds from `first` on; a sample shows `takes` seconds after its scrape
    began."""

    def __init__(self, *, period: float, first: float = 0.3, takes: float = 0.03, ahead: float = 0.0) -> None:
        self.period, self.first, self.takes, self.ahead = period, first, takes, ahead

    def newest(self, now: float) -> float:
        """Time of the newest visible scrape at the local time `now`, by the server's clock."""
        number = int((now - self.takes - self.first) // self.period)
        return self.first + number * self.period + self.ahead


def run(server: Server, interval: float, ticks: int, latency: float = 0.002) -> list[tuple[float, float]]:
    """Ask as the evaluator does; (time of asking, age of the newest scrape) per tick."""
    phase, now, seen = ScrapeTiming(), 100.0, []
    for _ in range(ticks):
        evaluated = now + latency
        newest = server.newest(evaluated)
        phase.observe(newest=newest, evaluated=evaluated + server.ahead, asked=now)
        seen.append((now, evaluated + server.ahead - newest))
        now += phase.next_delay(now=now, interval=interval)
    return seen


def first_sights(seen: list[tuple[float, float]]) -> list[float]:
    """How old each scrape was when it was first seen; a tick that came too early saw none anew."""
    ages, before = [], 0.0
    for now, age in seen:
        if now - age > before + 0.1:
            ages.append(age)
        before = max(before, now - age)
    return ages


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -75.5])
@pytest.mark.parametrize(
    ("period", "interval"), [(1.0, 1.0), (5.0, 5.0), (1.0, 10.0), (15.0, 15.0), (15.0, 30.0), (2.0, 3.0)]
)
def test_ticks_come_just_after_a_scrape(period: float, interval: float, ahead: float) -> None:
    seen = run(Server(period=period, ahead=ahead), interval, 100)
    ages = first_sights(seen[10:])
    assert len(ages) >= 80
    # coming too early, about once in thirty times, shows the scrape before and is made good at once
    assert sum(age >= 0.12 for age in ages) <= 0.06 * len(ages), ages


@pytest.mark.parametrize(
    ("period", "interval"), [(1.0, 1.0), (1.0, 10.0), (15.0, 10.0), (30.0, 10.0), (7.0, 10.0)]
)
def test_the_rate_of_asking_stays_what_was_asked_for(period: float, interval: float) -> None:
    seen = run(Server(period=period), interval, 100)
    gaps = [after - before for (before, _), (after, _) in pairwise(seen)]
    # looking again after coming too early, about once in thirty times
    assert sum(gap < 0.25 * interval for gap in gaps) <= 6
    assert max(gaps) <= 1.25 * interval + 1e-9
    assert 0.62 * interval <= sum(gaps) / len(gaps) <= 1.25 * interval


def test_every_scrape_is_seen_soon_if_it_is_slower_than_the_interval() -> None:
    seen = run(Server(period=15.0), 10.0, 60)
    assert all(age < 0.2 for age in first_sights(seen[10:]))


def test_a_slow_scrape_teaches_a_wider_margin() -> None:
    seen = run(Server(period=5.0, takes=0.3), 5.0, 60)
    assert all(0.3 <= age < 0.6 for age in first_sights(seen[-20:]))


def test_without_a_rhythm_the_interval_is_kept() -> None:
    phase, rng, newest = ScrapeTiming(), random.Random(1), 0.0
    for tick in range(30):
        newest += rng.uniform(0.3, 1.7)
        phase.observe(newest=newest, evaluated=newest + 0.2, asked=float(tick))
        if len(phase._gaps) == 4:
            assert phase.period is None or phase.period < 1.7
    fresh = ScrapeTiming()
    assert fresh.next_delay(now=5.0, interval=10.0) == 10.0
    fresh.observe(newest=4.0, evaluated=5.0, asked=5.0)
    assert fresh.next_delay(now=5.0, interval=10.0) == 10.0


def test_another_rhythm_is_learned_after_the_pods_were_replaced() -> None:
    phase, now, seen = ScrapeTiming(), 0.0, []
    for tick in range(60):
        server = Server(period=5.0, first=0.3 if tick < 30 else 2.9)
        newest = server.newest(now)
        phase.observe(newest=newest, evaluated=now, asked=now)
        seen.append((now, now - newest))
        now += phase.next_delay(now=now, interval=5.0)
    ages = [*first_sights(seen[10:30]), *first_sights(seen[-15:])]
    assert all(age < 0.2 for age in ages), ages
    assert len(ages) > 30


def test_a_passing_slowness_is_forgotten() -> None:
    phase, now, ages = ScrapeTiming(), 0.0, []
    for tick in range(300):
        server = Server(period=1.0, takes=0.6 if 20 <= tick < 60 else 0.03)
        newest = server.newest(now)
        phase.observe(newest=newest, evaluated=now, asked=now)
        ages.append(now - newest)
        now += phase.next_delay(now=now, interval=1.0)
    assert sorted(ages[-100:])[50] < 0.08
    assert phase.margin < 0.12


def test_pods_that_are_scraped_no_more_are_not_asked_oftener() -> None:
    phase, now, ticks = ScrapeTiming(), 0.0, 0
    server = Server(period=5.0)
    while now < 600:
        newest = server.newest(min(now, 60.0))
        phase.observe(newest=newest, evaluated=now, asked=now)
        now += phase.next_delay(now=now, interval=5.0)
        ticks += 1
    assert ticks <= 600 / 5 + 6


def test_asking_in_between_for_another_reason_disturbs_nothing() -> None:
    server, phase, now, ages = Server(period=5.0), ScrapeTiming(), 100.0, []
    for tick in range(60):
        for extra in (0.0, 1.3) if tick % 2 else (0.0,):
            newest = server.newest(now + extra)
            phase.observe(newest=newest, evaluated=now + extra, asked=now + extra)
            if not extra:
                ages.append(now - newest)
                delay = phase.next_delay(now=now, interval=5.0)
        now += delay
    assert sorted(ages[10:])[45] < 0.12
