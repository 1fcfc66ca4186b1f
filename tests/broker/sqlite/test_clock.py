"""A host that slept: its leases look lapsed, and are left to their owners for a while."""

from pumasi.broker.sqlite.clock import CALM, JUMP, HostClock


class Times:
    wall = 1000.0
    steady = 10.0

    def passes(self, seconds: float, asleep: float = 0.0) -> None:
        self.wall += seconds + asleep
        self.steady += seconds


def clock() -> tuple[Times, HostClock]:
    times = Times()
    return times, HostClock(lambda: times.wall, lambda: times.steady)


def test_ordinary_time_is_not_calm() -> None:
    times, host = clock()
    for seconds in (0.1, 5, 3600):
        times.passes(seconds)
        assert not host.calm()
    assert host.now() == times.wall


def test_after_a_sleep_it_is_calm_for_a_while() -> None:
    times, host = clock()
    times.passes(1, asleep=600)
    assert host.calm()
    times.passes(CALM - 1)
    assert host.calm()
    times.passes(2)
    assert not host.calm()


def test_a_clock_set_back_or_a_little_forward_is_no_sleep() -> None:
    times, host = clock()
    times.passes(1, asleep=-600)
    assert not host.calm()
    times.passes(1, asleep=JUMP - 1)
    assert not host.calm()


def test_every_sleep_counts() -> None:
    times, host = clock()
    for _ in range(3):
        times.passes(100, asleep=100)
        assert host.calm()
        times.passes(CALM + 1)
        assert not host.calm()
