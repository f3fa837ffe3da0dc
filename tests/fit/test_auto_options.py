"""The options that follow from the network and the number of images."""

import pytest

from backmix.fit.auto_options import auto_batch_size, auto_epochs, auto_options


def test_choices_by_size_stay_in_their_limits():
    sizes = (0, 1, 10, 200, 500, 3000, 27_000, 10**7)
    epochs, batches = [auto_epochs(images) for images in sizes], [auto_batch_size(images) for images in sizes]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] <= 200 and epochs[-1] >= 10
    assert batches == sorted(batches) and set(batches) <= {16, 32, 64, 128, 256, 512}
    assert all(size == 16 or images // size >= 20 for images, size in zip(sizes, batches, strict=True))
    assert [auto_batch_size(images, largest=1024) for images in (20_479, 20_480)] == [512, 1024]
    assert auto_epochs(10_000, shown=1_200_000) == 120


def test_what_is_given_is_kept():
    options = auto_options(1000, model="compact", epochs=3, batch_size=12, lr=0.01, seed=7, precision="fp32")
    assert (options.epochs, options.batch_size, options.lr, options.seed, options.precision) == (3, 12, 0.01, 7, "fp32")
    assert auto_options(1000, model="resnet18").optimizer == "adamw"
    fresh, published = (auto_options(1000, model="resnet18", pretrained=p).lr for p in (False, True))
    assert published < fresh
    with pytest.raises(ValueError, match="epochs is at least 1; got 0"):
        auto_options(1000, model="compact", epochs=0)


def test_published_weights_keep_the_statistics_of_their_batch_norms():
    published, fresh = (auto_options(1000, model="resnet18", pretrained=given) for given in (True, False))
    assert published.freeze_norm and not fresh.freeze_norm and not auto_options(1000, model="compact").freeze_norm
