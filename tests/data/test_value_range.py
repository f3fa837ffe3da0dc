import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backmix.data.value_range import find_range, guess_range, kind_of, limits_of, to_8_bits


@pytest.mark.parametrize(
    ("dtype", "kind"), [("<u2", "uint16"), (">u2", "uint16"), ("<i4", "int32"), ("f2", "float"), ("f8", "float")]
)
def test_kinds(dtype, kind):
    assert kind_of(np.dtype(dtype)) == kind


@pytest.mark.parametrize(
    ("kind", "low", "high", "expected"),
    [
        ("uint16", 0, 255, (0, 255)),
        ("uint16", 3, 256, (0, 1023)),
        ("uint16", 0, 4095, (0, 4095)),
        ("uint16", 0, 4096, (0, 16383)),
        ("uint16", 0, 65535, (0, 65535)),
        ("int16", -1000, 2000, (-1000, 2000)),
        ("int32", 0, 4000, (0, 65535)),
        ("uint32", 0, 70000, (0, 70000)),
        ("float", 0.2, 0.9, (0, 1)),
        ("float", 0.0, 77.0, (0, 255)),
        ("float", -1.0, 1.0, (-1, 1)),
    ],
)
def test_guesses(kind, low, high, expected):
    assert guess_range(kind, low, high) == expected


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=30), st.integers(1, 65535))
def test_whole_numbers_are_scaled_and_rounded(numbers, top):
    found = to_8_bits(np.array(numbers, np.uint16), (0.0, float(top)))
    assert found.tolist() == [int(min(number, top) * 255 / top + 0.5) for number in numbers]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_floats_go_from_end_to_end(numbers):
    values = np.array(numbers)
    found = to_8_bits(values, limits_of(values))
    if values.max() > values.min():
        assert (found.min(), found.max()) == (0, 255)
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order].astype(int)) >= 0).all()


def test_what_is_not_finite_goes_to_the_ends():
    values = np.array([np.nan, np.inf, -np.inf, 0.5])
    assert to_8_bits(values, (0.0, 1.0)).tolist() == [0, 255, 0, 128]
    assert limits_of(values) == (0.5, 0.5)
    with pytest.raises(ValueError, match="no finite value"):
        limits_of(np.array([np.nan]))


def test_declared_before_run_before_guess():
    values = np.array([0, 900], np.uint16)
    assert find_range(values, (0.0, 4095.0), {"uint16": (0.0, 1.0)}, None) == (0.0, 4095.0)
    assert find_range(values, None, {"uint16": (0.0, 65535.0)}, None) == (0.0, 65535.0)
    assert find_range(values, (0.0, 255.0), {}, None) == (0.0, 1023.0)  # The header is wrong: values exceed it.
