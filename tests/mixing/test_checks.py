"""Options that fit, and one that does not."""

import pytest

from backmix.mixing.checks import check


def test_what_fits_passes_and_what_does_not_is_told():
    check(True, "never seen")
    with pytest.raises(ValueError, match=r"^side lies in 0\.\.1; got 2$"):
        check(False, "side lies in 0..1; got 2")
