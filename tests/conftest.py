"""What holds for all tests."""

from hypothesis import settings

# Deadlines per example fail on a busy machine without anything being wrong.
settings.register_profile("backmix", deadline=None)
settings.load_profile("backmix")
