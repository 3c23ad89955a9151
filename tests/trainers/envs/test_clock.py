"""The clock keeps its rate, forgets what it missed, and waits for whoever is quicker."""

from __future__ import annotations

import math
import os
import threading
import time

import pytest

from trainers.envs.clock import Clock


class Time:
    """Time that passes only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.ready: list[int] = []

    def work(self, seconds: float) -> None:
        self.now += seconds

    def select(self, readable, writable, broken, timeout):
        if self.ready:
            return [self.ready.pop()], [], []
        assert timeout is not None, "it would wait for ever"
        self.slept.append(timeout)
        self.now += timeout
        return [], [], []


@pytest.fixture
def hours():
    return Time()


@pytest.fixture
def made(hours):
    clocks = []

    def make(seconds=0.1, speed=1.0):
        clocks.append(Clock(seconds, speed, now=lambda: hours.now, select=hours.select))
        return clocks[-1]

    yield make
    for clock in clocks:
        clock.close()


def test_work_that_takes_different_times_does_not_let_it_drift(made, hours):
    clock, start = made(), hours.now
    for number in range(1, 1001):
        assert clock.wait()
        assert hours.now == pytest.approx(start + 0.1 * number)
        hours.work(0.001 * (number % 90))
    assert clock.ticks == 1000 and clock.missed == 0 and clock.latest == pytest.approx(0)


def test_the_time_that_looking_takes_does_not_add_up(made, hours):
    clock, start = made(), hours.now

    def looked() -> float:
        hours.now += 1e-4
        return hours.now

    clock._now = looked
    for _ in range(1000):
        assert clock.wait()
    assert hours.now == pytest.approx(start + 100.0, abs=0.01)


def test_a_tick_that_came_late_is_made_good_at_the_next_one_and_said(made, hours):
    clock, start = made(), hours.now
    clock.wait()
    hours.work(0.13)  # longer than a period
    assert clock.wait() and clock.late == pytest.approx(0.03) and hours.now == pytest.approx(start + 0.23)
    assert clock.wait() and clock.late == pytest.approx(0) and hours.now == pytest.approx(start + 0.3)
    assert clock.latest == pytest.approx(0.03) and clock.missed == 0


def test_after_a_long_stop_there_is_no_burst_and_what_was_missed_is_counted(made, hours):
    clock = made()
    clock.wait()
    hours.work(1.08)
    times = []
    for _ in range(6):
        clock.wait()
        times.append(hours.now)
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert clock.missed == 9 and clock.latest == pytest.approx(0.98)
    assert min(gaps) >= 0.05 - 1e-9, "two steps came on top of each other"
    assert gaps[-1] == pytest.approx(0.1)


def test_after_a_long_stop_it_is_back_on_its_grid(made, hours):
    clock, start = made(), hours.now
    clock.wait()
    hours.work(0.31)
    clock.wait()
    assert clock.late == pytest.approx(0.21) and clock.missed == 2
    clock.wait()
    assert hours.now == pytest.approx(start + 0.5) and clock.late == pytest.approx(0)


def test_no_two_ticks_are_closer_than_half_a_period_however_late_one_was(made, hours):
    clock = made()
    for late in (0.19, 0.175, 0.1999, 0.16):
        clock.wait()
        hours.work(late)
        clock.wait()
        before = hours.now
        clock.wait()
        assert hours.now - before >= 0.05 - 1e-9


def test_a_pause_keeps_what_was_left_of_the_period_and_is_not_late(made, hours):
    clock = made()
    clock.wait()
    hours.work(0.03)
    clock.pause()
    clock.pause()
    assert clock.paused and clock.remaining() is None and not clock.tick()
    hours.work(60.0)
    assert not clock.tick()
    clock.resume()
    assert clock.remaining() == pytest.approx(0.07)
    assert clock.wait() and clock.late == pytest.approx(0) and clock.missed == 0


def test_a_loop_with_a_select_of_its_own_asks_how_long_and_then_for_the_tick(made, hours):
    clock = made()
    assert clock.remaining() == pytest.approx(0.1) and not clock.tick()
    hours.work(0.04)
    assert clock.remaining() == pytest.approx(0.06) and not clock.tick()
    hours.work(0.07)
    assert clock.remaining() == 0 and clock.tick() and not clock.tick()


def test_another_speed_counts_from_the_middle_of_a_period(made, hours):
    clock = made()
    hours.work(0.05)
    clock.speed = 2.0
    assert clock.period == pytest.approx(0.05) and clock.remaining() == pytest.approx(0.025)
    clock.pause()
    clock.speed = 0.5
    clock.resume()
    assert clock.remaining() == pytest.approx(0.1)
    clock.speed = math.inf
    assert clock.remaining() == 0 and clock.tick() and clock.tick()
    clock.speed = 1.0
    assert clock.remaining() == 0.0 and clock.tick() and clock.remaining() == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("seconds", "speed"), [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (0.1, 0.0), (0.1, math.nan)]
)
def test_a_clock_that_could_not_tick_is_refused(seconds, speed):
    with pytest.raises(ValueError, match="above zero"):
        Clock(seconds, speed)


def test_somebody_else_ends_the_wait_and_the_tick_still_comes_in_time():
    clock = Clock(20.0)
    start = time.monotonic()
    threading.Timer(0.02, clock.wake).start()
    assert not clock.wait() and clock.ticks == 0
    passed = time.monotonic() - start
    assert 0.02 <= passed < 15 and clock.remaining() == pytest.approx(20.0 - passed, abs=1.0)
    clock.speed = 200.0
    assert clock.wait() and clock.ticks == 1 and time.monotonic() - start >= passed + 0.05
    clock.close()


def test_who_was_woken_while_busy_hears_it_at_the_next_wait_once():
    clock = Clock(60.0)
    for _ in range(70_000):  # more than the pipe holds
        clock.wake()
    assert not clock.wait()
    clock.speed = 600.0
    assert clock.wait()
    clock.close()


def test_while_paused_it_waits_for_a_file_that_can_be_read():
    clock = Clock(60.0)
    clock.pause()
    ear, mouth = os.pipe()
    threading.Timer(0.02, os.write, (mouth, b"resume\n")).start()
    assert not clock.wait(ear)
    assert os.read(ear, 100) == b"resume\n"
    for one in (ear, mouth):
        os.close(one)
    clock.close()
