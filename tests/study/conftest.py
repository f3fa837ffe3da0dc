"""What the tests of the study share."""

import pytest

from backmix import OpenSetClassifier


@pytest.fixture
def small_classifier():
    """A classifier of the digits 0 to 5, not trained."""
    return OpenSetClassifier(list("012345"), model="compact-s", image_size=32, precision="fp32")
