"""What takes the place of a training that the time buys too few epochs of."""

import pytest

from backmix.fit.quicker import LEAST_EPOCHS, MANY_STEPS, TooSlow, affordable, quicker, seconds_of, time_in_words, work
from backmix.train.recipe import TrainOptions


def never(*_):
    raise AssertionError("nothing is short here")


def test_enough_epochs_are_taken_as_they_fit():
    assert affordable(1.0, 100.0, 50, alternative=True, on_short=never) == 50
    assert affordable(10.0, 100.0, 50, alternative=True, on_short=never) == 9  # A tenth is a reserve.
    assert affordable(10.0, 25.0, 2, alternative=True, on_short=never) == 2  # No more were wanted.


def test_too_few_epochs_make_room_for_something_quicker():
    with pytest.raises(TooSlow, match="an epoch takes about 79 s, and 110 s are left") as found:
        affordable(79.0, 110.0, 50, alternative=True, on_short=never)
    assert found.value.times == pytest.approx(2 * LEAST_EPOCHS * 79 / 110)


def test_where_everything_was_asked_for_it_is_said():
    told = []
    assert affordable(79.0, 110.0, 50, alternative=False, on_short=lambda *times: told.append(times)) == 1
    assert told == [(79.0, 110.0)]


def test_the_largest_training_that_is_quick_enough_is_taken():
    assert quicker("compact", 224, 1.5) == ("compact-s", 224) or work(*quicker("compact", 224, 1.5)) < work(
        "compact", 224
    )
    for times in (1.0, 2.0, 3.0, 8.0):
        model, size = quicker("resnet18", 224, times)
        assert model == "resnet18" and work(model, size) <= work("resnet18", 224) / times
    assert quicker("resnet18", 224, 1000.0) == ("resnet18", 32)  # Nothing is quick enough: the quickest.


def test_what_a_person_chose_stays():
    assert quicker("compact", 64, 3.0, free_size=False) == ("compact-s", 64)
    assert quicker("compact", 224, 3.0, free_model=False)[0] == "compact"
    assert quicker("compact", 64, 3.0, free_model=False, free_size=False) is None
    assert quicker("compact-s", 32, 3.0) is None


def test_the_time_is_measured_where_it_is_long():
    def measure(options, seconds):
        assert seconds == 2.0
        return 3.0

    options = TrainOptions(epochs=20, batch_size=16)
    assert seconds_of(measure, options, 16 * MANY_STEPS) == 60.0
    assert seconds_of(never, options, 100) is None


def test_times_in_words():
    assert [time_in_words(seconds) for seconds in (0.2, 44, 200, 7800)] == ["1 s", "44 s", "3 min", "2 h 10 min"]
