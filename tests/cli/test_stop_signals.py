"""Signals that wait for a good moment."""

import contextlib
import os
import signal
import sys
import threading

import pytest
from interruptible import interruptible

from backmix.cli.stop_signals import Stop, StopSignals, advice_when_stopped

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")


@pytest.fixture(autouse=True)
def not_ignored():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    interruptible()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_at_once(number):
    before = signal.getsignal(number)
    with pytest.raises(Stop) as stop, StopSignals():
        os.kill(os.getpid(), number)
        pytest.fail("went on")
    assert stop.value.number == number and isinstance(stop.value, KeyboardInterrupt)
    assert signal.getsignal(number) == before


def test_what_is_held_is_done_to_its_end():
    done = []
    with pytest.raises(Stop), StopSignals() as signals:
        with signals.held():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("within")
        done.append("after")
    assert done == ["within"]


def test_an_error_within_comes_out_as_it_is():
    with pytest.raises(ValueError, match="mine"), StopSignals() as signals, signals.held():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("mine")


def test_a_signal_that_was_lost_in_a_callback_stops_at_the_next_piece():
    with pytest.raises(Stop), StopSignals() as signals:
        with contextlib.suppress(Stop):
            os.kill(os.getpid(), signal.SIGINT)
        with signals.held():
            pass
        pytest.fail("went on")


def test_closing_is_not_disturbed():
    with StopSignals() as signals:
        signals.hold()
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_are_left_alone():
    failed = []

    def within():
        try:
            with StopSignals() as signals, signals.held():
                pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert not failed


def test_advice_is_given_when_a_command_is_stopped_and_only_then(capsys):
    for advice, said in (("go on by --resume", "backmix: stopped: go on by --resume\n"), ("", "")):
        with pytest.raises(KeyboardInterrupt), advice_when_stopped(lambda advice=advice: advice):
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("went on")
        assert capsys.readouterr().err == said
    with pytest.raises(ValueError, match="mine"), advice_when_stopped(lambda: pytest.fail("nobody asked")):
        raise ValueError("mine")
