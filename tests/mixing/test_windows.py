import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backmix.mixing.windows import windows_of


@given(
    batch=st.integers(1, 4),
    channels=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    last=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.uint8, torch.float64]),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_reading_and_writing_equal_slicing(batch, channels, height, width, last, dtype, seed, data):
    generator = torch.Generator().manual_seed(seed)
    side = data.draw(st.integers(1, min(height, width)))
    images = (torch.rand(batch, channels, height, width, generator=generator) * 200).to(dtype)
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    windows = windows_of(images, side)
    times = data.draw(st.integers(1, 2))
    top = torch.randint(height - side + 1, (2, times * batch), generator=generator)
    left = torch.randint(width - side + 1, (2, times * batch), generator=generator)
    donor = torch.randint(batch, (times * batch,), generator=generator)
    from_rows, to_rows = windows.rows(donor, top, left)
    read = windows.read(images, from_rows)
    assert read.shape == (times * batch, windows.planes, side, windows.run)

    def window(image, which, number):
        rows = slice(top[which, number], top[which, number] + side)
        return images[image, :, rows, left[which, number] : left[which, number] + side]

    for number in range(times * batch):
        assert torch.equal(windows.as_images(read)[number], window(donor[number], 0, number))
    expected = images
    images = images.clone()
    for number in range(times * batch):
        window(number % batch, 1, number).fill_(7)
    read.fill_(7)
    windows.write(expected, to_rows, read)
    assert torch.equal(images, expected)


def test_what_follows_from_the_shape_is_made_once():
    images = torch.rand(2, 3, 8, 8)
    assert windows_of(images, 4) is windows_of(torch.rand(2, 3, 8, 8), 4)
    assert windows_of(images, 4) is not windows_of(images.to(memory_format=torch.channels_last), 4)


def test_images_inside_a_larger_storage():
    storage = torch.rand(6, 3, 8, 8)
    before, images = storage.clone(), storage[2:5]
    windows = windows_of(images, 2)
    top, left = torch.tensor([[0, 6, 3], [0, 6, 3]]), torch.tensor([[6, 0, 2], [6, 0, 2]])
    _, rows = windows.rows(torch.arange(3), top, left)
    windows.write(images, rows, torch.zeros_like(windows.read(images, rows)))
    changed = (storage != before).flatten(1).sum(1)
    assert changed.tolist() == [0, 0, 12, 12, 12, 0]


@pytest.mark.parametrize("last", [False, True])
def test_tables_made_in_inference_mode_serve_training_later(last):
    shape = (2, 3, 11, 13)  # Of no other test: what is kept must come from inference mode.
    layout = torch.channels_last if last else torch.contiguous_format
    with torch.inference_mode():
        windows_of(torch.rand(shape).contiguous(memory_format=layout), 3)
    images = torch.rand(shape).contiguous(memory_format=layout).requires_grad_(True)
    windows = windows_of(images, 3)
    rows, _ = windows.rows(torch.arange(2), *torch.zeros(2, 2, 2, dtype=torch.int64))
    windows.read(images, rows).sum().backward()
    assert images.grad is not None and float(images.grad.sum()) == 2 * 3 * 9
