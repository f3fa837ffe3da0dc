"""What config.yaml and the weights of a run must be."""

import pytest
import torch

from backmix.runs.settings import Settings, check_weights

GOOD = {
    "format": 1,
    "model": "compact-s",
    "method": "softmax",
    "image_size": 32,
    "precision": "fp32",
    "model_options": {},
    "method_options": {},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 1, 0.2],
}


def test_the_settings_of_a_run():
    found = Settings.of({**GOOD, "arguments": {"note": "mine"}})
    assert (found.model, found.image_size, found.mean, found.std) == ("compact-s", 32, (0.5,) * 3, (0.2, 1.0, 0.2))
    assert found.frozen is False and found.value_ranges == {}
    assert Settings.of({**GOOD, "frozen": True}).frozen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *[({"image_size": size}, "image_size") for size in (2049, 0, -1, 10**9, 32.5, "32", True, None, [32, 32])],
        ({"model": None}, "model"),
        ({"method": ["softmax"]}, "method"),
        ({"precision": "fp16"}, "precision"),
        ({"model_options": 3}, "model_options"),
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"mean": "abc"}, "mean"),
        ({"mean": [0.5, 0.5, float("nan")]}, "cannot be normalised"),
        ({"std": [0.2, 0.0, 0.2]}, "cannot be normalised"),
        ({"std": [0.2, -1.0, 0.2]}, "cannot be normalised"),
        ({"std": [0.2, float("inf"), 0.2]}, "cannot be normalised"),
        ({"frozen": "no"}, "frozen"),
        ({"model": "hf-hub:someone/net"}, "lies in another place"),
    ],
    ids=str,
)
def test_settings_that_are_none(change, message):
    with pytest.raises(ValueError, match=message):
        Settings.of({**GOOD, **change})
    with pytest.raises(ValueError, match=next(iter(change))):
        Settings.of({name: value for name, value in GOOD.items() if name not in change} | {next(iter(change)): ...})


def test_weights_have_the_type_of_the_network_and_finite_values():
    wanted = {"weight": torch.ones(2, 2), "count": torch.tensor(3)}
    check_weights(wanted, wanted)
    check_weights({**wanted, "unknown": torch.ones(1, dtype=torch.int8)}, wanted)  # `load_state_dict` names it.
    with pytest.raises(ValueError, match="the weights weight are int8; expected float32"):
        check_weights({**wanted, "weight": torch.ones(2, 2, dtype=torch.int8)}, wanted)
    with pytest.raises(ValueError, match="2 of the 4 weights weight are no finite numbers"):
        check_weights({**wanted, "weight": torch.tensor([[1.0, float("nan")], [float("inf"), 0.0]])}, wanted)
