"""Several augmentations as one, and by name; Beta, against what is known of the distribution."""

from pathlib import Path

import pytest
import torch

from backmix.augmentations import AUGMENTATIONS, Augmentation, Chain, CutMix, Cutout, Mixup, RandAugment
from backmix.augmentations import make_augmentation as by_name
from backmix.augmentations.base import draw_beta
from backmix.augmentations.share import ProcessPart as Share
from backmix.data.preprocess import Preprocess
from backmix.mixing import BackMix
from backmix.mixing.draw import device_of

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESS = Preprocess(16, *IMAGENET)
IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS, INDEX = torch.tensor([0, 1, 2, 0, 1, 2, 3, 3]), torch.arange(8)


def make(name, **options):
    return by_name(name, 8, PREPROCESS, options)


class Written(Augmentation):
    """Writes its number into the log when it is called."""

    def __init__(self, number, log, moved=None):
        super().__init__()
        self.number, self.log, self.shifted = number, log, moved

    def forward(self, images, index=None, **_):
        self.log.append(self.number)
        return images

    def moved(self):
        return self.shifted


class Behind(Written):
    after_crop = True


def before_crop(chain, images=IMAGES):
    return chain.before_crop(images, INDEX, labels=LABELS, masks=None, view=None)


def test_parts_are_called_in_order_on_their_side_of_the_crop():
    log = []
    chain = Chain([Behind(1, log), Written(2, log), Behind(3, log), Written(4, log)])
    before_crop(chain)
    assert log == [2, 4]
    chain.behind_crop(IMAGES, INDEX, labels=LABELS)
    assert log == [2, 4, 1, 3]


@pytest.mark.parametrize("name", ["randaugment+backmix", "backmix+randaugment", "randaugment+swap"])
def test_backmix_comes_first_wherever_it_stands(name):
    chain = make(name)
    assert [type(part) for part in chain.parts] == [BackMix, RandAugment]
    assert chain.backmix in list(chain.parts)


def test_which_side_of_the_crop_each_belongs_to():
    behind = {name for name, maker in AUGMENTATIONS.items() if maker.after_crop}
    assert behind == {"cutout", "gridmask", "hide-and-seek"}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_name_makes_its_augmentation(name):
    chain = make(name)
    assert isinstance(chain, Chain) and chain.backmix is None and type(chain.parts[0]) is AUGMENTATIONS[name]
    shown = chain.behind_crop(before_crop(chain), INDEX, labels=LABELS)
    assert shown.shape == IMAGES.shape and shown.dtype == IMAGES.dtype
    chain.eval()
    assert chain.behind_crop(before_crop(chain), INDEX, labels=LABELS) is IMAGES
    assert chain.targets(LABELS) is None and chain.moved() is None


def test_none_is_nothing():
    assert by_name("none", 8, PREPROCESS) is None and by_name("none", 8, PREPROCESS, {}) is None
    with pytest.raises(ValueError, match="augmentation none has no option alpha, side"):
        make("none", alpha=1, side=1)


def test_what_the_data_say_reaches_the_parts_and_gives_way_to_options():
    chain = make("backmix+cutout+randaugment")
    mix, _, rand = chain.parts
    assert len(mix.bank) == len(make("swap").backmix.bank) == 8
    assert rand.mean == PREPROCESS.mean and rand.std == PREPROCESS.std
    assert make("cutout", fill_value=0.25).parts[0].fill_value == 0.25
    assert make("swap", fill_value=0.25).parts[0].fill_value == 0.25


@pytest.mark.parametrize("name", ["backmix", "swap"])
def test_backmix_masks_with_mid_grey_in_the_units_of_the_images(name):
    """With ImageNet's mean and deviation, 0.5 of 0..1 lies a fifth of a deviation or so above 0."""
    expected = sum((0.5 - mean) / std for mean, std in zip(*IMAGENET)) / 3
    assert make(name).parts[0].fill_value == pytest.approx(expected, abs=1e-6) and 0.2 < expected < 0.3


@pytest.mark.parametrize("name", ["cutout", "gridmask", "hide-and-seek"])
def test_parts_that_hide_fill_with_the_mean_pixel(name):
    """0 after normalisation, as in the papers, whatever the normalisation."""
    chain = make(name, probability=1.0)
    chain.set_generator(torch.Generator().manual_seed(0))
    shown = chain.behind_crop(IMAGES, INDEX, labels=LABELS)
    assert (shown != IMAGES).any() and (shown[shown != IMAGES] == 0).all()


def test_swap_is_backmix_that_swaps():
    swap, same = make("swap", foreground="centre").backmix, make("backmix", apply="swap", foreground="centre").backmix
    assert repr(swap) == repr(same) and swap.how == "swap" and swap.fill == "elsewhere"
    swap.generator, same.generator = (torch.Generator().manual_seed(2) for _ in range(2))
    shown = swap(IMAGES, INDEX)
    assert torch.equal(shown, same(IMAGES, INDEX)) and not torch.equal(shown, IMAGES)


def test_options_of_swap():
    swap, cutmix = make("swap+cutmix", **{"swap.probability": 0.25, "cutmix.probability": 0.75, "grid": 4}).parts
    assert (swap.probability, cutmix.probability, swap.bank.grid) == (0.25, 0.75, 4)
    # The name says what is done already.
    with pytest.raises(ValueError, match="augmentation swap has no option apply"):
        make("swap", apply="patch")
    with pytest.raises(ValueError, match="augmentation swap has no option swap.apply"):
        make("swap", **{"swap.apply": "patch"})
    with pytest.raises(ValueError, match="no option backmix.probability"):
        make("swap", **{"backmix.probability": 0.25})


def test_swap_has_a_page_with_its_name():
    page = Path(__file__).parents[2] / "docs" / "augmentations" / "swap.md"
    assert "--augmentation swap" in page.read_text(encoding="utf-8")


def test_options_go_to_the_part_that_has_them():
    chain = make("backmix+mixup+cutout", patch_side=0.5, alpha=0.2, side=0.25)
    mix, mixup, cutout = chain.parts
    assert mix.patch_side == 0.5 and mixup.alpha == 0.2 and cutout.side == 0.25


def test_an_option_of_several_parts_is_refused():
    parts = make("cutmix+backmix", **{"cutmix.probability": 0.25, "backmix.probability": 0.75}).parts
    assert [part.probability for part in parts] == [0.75, 0.25]
    assert make("hide-and-seek", **{"hide_and_seek.probability": 0.25}).parts[0].probability == 0.25
    with pytest.raises(ValueError, match="no option cutmix.probability"):
        make("backmix", **{"cutmix.probability": 0.25})
    with pytest.raises(
        ValueError, match="both backmix and cutmix have an option probability; say which: cutmix.probability"
    ):
        make("backmix+cutmix", probability=0.5)


def test_unknown_names_and_options_are_refused():
    with pytest.raises(
        ValueError, match="no augmentation 'cowmix'; there are none, backmix, swap, mixup, cutmix, .* joined"
    ):
        make("backmix+cowmix")
    with pytest.raises(ValueError, match="augmentation cutmix has no option beta, gamma"):
        make("cutmix", beta=1, gamma=2, alpha=1.0)


def test_backmix_twice_is_refused():
    for name in ("backmix+backmix", "swap+swap", "backmix+swap", "swap+mixup+backmix"):
        with pytest.raises(ValueError, match="backmix, or swap, .* twice .* choose one of them, and raise num_patches"):
            make(name)
    with pytest.raises(ValueError, match="twice"):
        Chain([BackMix(4), Mixup(), BackMix(4)])


def test_backmix_in_place_is_refused():
    with pytest.raises(ValueError, match="for a loop of your own"):
        Chain([BackMix(4, inplace=True)])
    with pytest.raises(ValueError, match="has no option inplace"):
        make("backmix", inplace=True)


def soft(targets, classes=4):
    return sum(weight * torch.nn.functional.one_hot(labels, classes).float() for labels, weight in targets)


@pytest.mark.parametrize("order", [(CutMix, Mixup), (Mixup, CutMix), (Mixup, Mixup)])
@pytest.mark.parametrize("seed", range(4))
def test_two_that_mix_labels_mix_them_as_they_mix_images(order, seed):
    """Images whose pixels are their soft label, so that the mean over pixels is what a label must be."""
    chain = Chain([maker(probability=1.0) for maker in order])
    chain.set_generator(torch.Generator().manual_seed(seed))
    images = torch.nn.functional.one_hot(LABELS, 4).float()[:, :, None, None].expand(-1, -1, 16, 16).contiguous()
    mixed = before_crop(chain, images)
    targets = chain.targets(LABELS)
    assert len(targets) == 4 and sum(weight for _, weight in targets) == pytest.approx(1)
    assert torch.allclose(soft(targets), mixed.mean((2, 3)), atol=1e-5)


def test_parts_that_keep_labels_leave_no_targets():
    chain = make("backmix+randaugment+cutout")
    before_crop(chain)
    assert chain.targets(LABELS) is None
    mixed = make("backmix+mixup+cutout")
    before_crop(mixed)
    assert len(mixed.targets(LABELS)) == 2


def test_moved_is_moved_by_any_part():
    first, second = torch.tensor([True, False, False]), torch.tensor([False, False, True])
    parts = [Written(1, [], first), Written(2, []), Written(3, [], second)]
    assert Chain(parts).moved().tolist() == [True, False, True]
    assert Chain(parts[1:2]).moved() is None and Chain([]).moved() is None
    assert Chain([BackMix(4), parts[0]]).moved().tolist() == first.tolist()


@pytest.mark.parametrize("name", ["backmix+mixup", "swap+cutmix"])
def test_images_that_their_partners_outweigh_are_not_fed(name):
    chain = make(name, **{f"{name.split('+')[1]}.probability": 1.0})
    chain.set_generator(torch.Generator().manual_seed(0))
    shares = []
    for _ in range(30):
        before_crop(chain)
        shares.append(chain.targets(LABELS)[0][1])
        moved = chain.moved()
        assert moved is None if shares[-1] >= 0.5 else moved.tolist() == [True] * 8
    assert min(shares) < 0.5 < max(shares)


def test_one_generator_is_given_to_all_parts():
    generator = torch.Generator().manual_seed(3)
    chain = make("backmix+randaugment+cutout")
    chain.set_generator(generator)
    assert all(part.generator is generator for part in chain.parts)
    first = chain.behind_crop(before_crop(chain), INDEX, labels=LABELS)
    chain.set_generator(torch.Generator().manual_seed(3))
    assert torch.equal(first, chain.behind_crop(before_crop(chain), INDEX, labels=LABELS))


def test_a_backbone_reaches_the_parts_and_is_let_go():
    held = []

    class Holding(Written):
        def attach(self, backbone):
            held.append(backbone)

        def detach(self):
            held.clear()

    chain, backbone = Chain([BackMix(4), Cutout(), Holding(1, [])]), torch.nn.Identity()
    chain.attach(backbone)
    assert held == [backbone]
    chain.detach()
    assert held == []


def test_what_an_augmentation_does_unless_it_says_otherwise():
    plain = Augmentation()
    assert plain.targets(LABELS) == ((LABELS, 1.0),) and plain.moved() is None and not plain.after_crop
    with pytest.raises(NotImplementedError):
        plain(IMAGES)


class Add(Augmentation):
    """Adds a number to each image, drawn for each; below 0 the batch is left as it is."""

    name, options = "add", ("amount",)
    amount = 2.0

    def draw(self, batch, height, width, /):
        self.asked = (batch, height, width)
        return None if self.amount < 0 else torch.arange(batch) * self.amount

    def change(self, images, draw):
        return images + draw[:, None, None, None]

    def part(self, draw, share):
        return share.own(draw)


def test_an_augmentation_is_a_draw_and_a_change():
    add = Add()
    images = torch.zeros(4, 3, 5, 6)
    assert add(images)[:, 0, 0, 0].tolist() == [0, 2, 4, 6] and add.asked == (4, 5, 6)
    add.share = Share(1, 2)
    assert add(images)[:, 0, 0, 0].tolist() == [8, 10, 12, 14] and add.asked == (8, 5, 6)
    add.amount = -1.0
    shown = add(images)
    assert torch.equal(shown, images) and shown is not images
    assert add.eval()(images) is images and repr(add) == "Add(amount=-1.0)"
    with pytest.raises(ValueError, match=r"^add takes normalised images .*; got \(3,\) torch.float32"):
        add.train()(torch.zeros(3))
    with pytest.raises(ValueError, match=r"^add: probability lies in 0\.\.1; got 2"):
        Add(probability=2)


def test_saved_state_is_that_of_the_bank():
    state = make("backmix+cutmix+mixstyle").state_dict()
    assert state and all(".bank." in name for name in state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["swap", *AUGMENTATIONS])
def test_every_augmentation_takes_both_kinds_of_numbers_and_follows_its_generator(name, dtype):
    """In bfloat16 what comes out is what float32 gives, to the last bit that is kept."""
    images = IMAGES.to(dtype)
    before, shown = images.clone(), []
    options = {"swap": {"foreground": "centre"}, "cutmix": {"probability": 1.0}}.get(name, {})
    for kind in (dtype, dtype, torch.float32):
        chain = make(name, **options)
        chain.set_generator(torch.Generator().manual_seed(1))
        changed = before_crop(chain, images.to(kind))
        shown.append(chain.behind_crop(changed, INDEX, labels=LABELS))
    first, again, exact = shown
    assert first.dtype == dtype and torch.equal(first, again) and torch.equal(images, before)
    if name == "mixstyle":  # It works inside a backbone.
        assert first is images
        return
    assert not torch.equal(first, images)
    allowed = 0.02 if dtype == torch.bfloat16 else 0.0
    assert ((first.float() - exact).abs() <= allowed * exact.abs().clamp_min(1)).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_options_show_when_printed_so_that_a_resumed_training_can_compare(name):
    maker = AUGMENTATIONS[name]
    option, value = {
        "cutout": ("side", 0.125),
        "gridmask": ("ratio", 0.125),
        "hide-and-seek": ("probability", 0.125),
        "randaugment": ("strength", 12.5),
    }.get(name, ("alpha", 0.125))
    assert repr(maker(**{option: value})) != repr(maker()) and f"{option}={value}" in repr(maker(**{option: value}))


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_mean_and_variance_are_those_of_beta(alpha):
    drawn = draw_beta(alpha, 100_000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.float32 and drawn.min() >= 0 and drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)


def test_tiny_alpha_gives_no_nan():
    assert draw_beta(1e-4, 10_000, torch.Generator().manual_seed(0)).isfinite().all()


def test_follows_the_generator_and_moves_it():
    generator = torch.Generator().manual_seed(3)
    first, second = draw_beta(1.0, 4, generator), draw_beta(1.0, 4, generator)
    assert not torch.equal(first, second)
    assert torch.equal(first, draw_beta(1.0, 4, torch.Generator().manual_seed(3)))


def test_the_global_generator_draws_where_none_is_given():
    torch.manual_seed(5)
    first = draw_beta(1.0, 3, None)
    torch.manual_seed(5)
    assert torch.equal(first, draw_beta(1.0, 3, None)) and device_of(None).type == "cpu"
