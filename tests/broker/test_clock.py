"""When lapsed leases are left to their owners, by what is heard of a server."""

import pytest

from pumasi.broker.clock import CALM, JUMP, ServerClock


class Steady:
    """A steady clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def steady() -> Steady:
    return Steady()


@pytest.fixture
def clock(steady: Steady) -> ServerClock:
    """That of a server known for an hour, which has just said what time it is."""
    clock = ServerClock(steady=steady)
    clock.met("server", 3600.0)
    clock.heard(5000.0)
    return clock


def test_its_time_goes_on_between_answers(clock: ServerClock, steady: Steady) -> None:
    steady.at += 7
    assert clock.now() == 5007.0
    assert not clock.calm()


@pytest.mark.parametrize(("ahead", "calm"), [(JUMP + 1, True), (JUMP - 1, False), (-3600, False)])
def test_a_clock_that_is_set(clock: ServerClock, steady: Steady, ahead: float, calm: bool) -> None:
    clock.heard(5000.0 + ahead)
    assert clock.calm() is calm
    steady.at += CALM
    assert not clock.calm()


def test_a_server_that_has_just_begun(clock: ServerClock, steady: Steady) -> None:
    clock.met("another", CALM / 3)
    assert clock.calm()
    steady.at += CALM * 2 / 3
    assert not clock.calm()


def test_a_server_that_was_out_of_reach(clock: ServerClock, steady: Steady) -> None:
    steady.at += CALM + 1
    clock.met("server", 3600.0)
    assert clock.calm()
    steady.at += CALM
    assert not clock.calm()


def test_a_connection_that_is_made_again_at_once(clock: ServerClock, steady: Steady) -> None:
    steady.at += CALM - 1
    clock.met("server", 3600.0)
    assert not clock.calm()


def test_a_server_met_for_the_first_time(steady: Steady) -> None:
    clock = ServerClock(steady=steady)
    steady.at += 3600
    clock.met("server", 3600.0)
    assert not clock.calm()
