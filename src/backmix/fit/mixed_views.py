"""Mixed views of training images as features of a frozen backbone: computed once, and then found in a cache.

A network that is trained sees every image mixed anew in each epoch. The head of a frozen network gets a few mixed views
of each image instead, which cost one pass over as many images. They are not flipped or cropped, so that nothing but the
augmentation tells them from the images.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from backmix.augmentations import Augmentation, Chain, make_augmentation
from backmix.data.content import content_keys
from backmix.data.images import ImageError
from backmix.data.loader import Decoded, decode
from backmix.data.preprocess import Preprocess
from backmix.data.seeds import seed_of
from backmix.data.source import ImageSource
from backmix.foregrounds import EstimatedMasks
from backmix.foregrounds.choose import choose_estimator
from backmix.inference.decider import Decider
from backmix.inference.engine import weights_key
from backmix.inference.frozen import FrozenFeatures
from backmix.mixing import BackMix
from backmix.mixing.bank import resize_map
from backmix.version import __version__

VIEWS = 3
"""The number of mixed views of each image."""

BATCH = 64  # The number of images that are mixed with one another.


@dataclass(frozen=True)
class MixedViews:
    """Mixed views of M training images, V of each: all images in their order, V times.

    Attributes:
        features: (V * M, C) float32, the pooled features.
        targets: (V * M, K) float32, the share of each class; each row sums to 1.
        computed: The number of views that the network ran on; the others were in the cache.
        mixed: The share of the views that show a part of another image, 0..1; None without BackMix.
        backmix: BackMix with its bank; None if it is not part of the augmentation.
    """

    features: Tensor
    targets: Tensor
    computed: int
    mixed: float | None
    backmix: BackMix | None


def mix_views(
    classifier: Decider,
    source: ImageSource,
    labels: Tensor,
    positions: Tensor,
    augmentation: str,
    options: dict[str, Any] | None = None,
    *,
    views: int = VIEWS,
    seed: int = 0,
    workers: int = 2,
    on_views: Callable[[int], object] | None = None,
) -> MixedViews:
    """Mix training images several times, and return the pooled features of the results.

    Images are mixed in batches of at most `BATCH`, by the code that mixes them in a training, and rounded to bytes.
    Everything random follows from the seed, the number of the view and the batch. A BackMix that reads its bank finds
    the evidence maps of the classifier's head in it, for all images of a batch before any of them is mixed. Maps and
    features are kept in the cache of `classifier.frozen_features`. So one batch of images is in memory at a time, and
    an interrupted pass goes on where it stopped. If the images, their labels, the options, the seed or the head (for
    maps) change, all views are computed again, because any image may be the donor of any other.

    Args:
        classifier: The classifier, whose head was trained on the images as they are.
        source: The images.
        labels: (len(source),) int64, the known class of each image.
        positions: (M,) int64, the positions of the training images in the source, which can be read.
        augmentation: The name of the augmentation, see `backmix.augmentations.make_augmentation`, other than "none".
        options: The options of the augmentation, see `backmix.fit.training.fit`.
        views: The number of views V of each image, at least 1.
        seed: The seed of everything random.
        workers: The number of threads that decode images.
        on_views: A function that is called, now and then, with the number of views done so far.

    Raises:
        ValueError: If the augmentation does not exist, works inside the network, or has no such option, or there are no
            views.
        ImageError: If an image cannot be read any more, or has no mask though masks were asked for.
    """
    check_views(augmentation, classifier.preprocess, options, views)
    maker = _Maker(classifier, source, labels, positions, augmentation, options, seed, workers)
    count, classes = len(positions), len(classifier.classes)
    found: dict[tuple[int, int], Tensor] = {}
    computed = 0
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(seed, "order of mixed views")))
    # Batches are of about the same size, so no image is left alone without a donor.
    for number, rows in enumerate(order.tensor_split(math.ceil(count / BATCH))):
        values, new = maker.batch(number, rows, views)
        found |= values
        computed += new
        if on_views is not None:
            on_views(len(found))
    table = torch.stack([found[view, row] for view in range(views) for row in range(count)])
    features, targets, mixed = table.split([table.shape[1] - classes - 1, classes, 1], 1)
    share = None if maker.mix is None else float(mixed.mean())
    return MixedViews(features, targets, computed, share, maker.mix)


def check_views(augmentation: str, preprocess: Preprocess, options: dict[str, Any] | None, views: int) -> Chain | None:
    """Return an augmentation, or raise ValueError if it cannot be made with these options or makes no views of images.

    Returns:
        The augmentation, for one image; None for "none".
    """
    chain = make_augmentation(augmentation, 1, preprocess, choose_estimator(options)[1])
    for part in () if chain is None else chain.parts:
        if isinstance(part, Augmentation) and part.inside_network:
            raise ValueError(
                f"{part.name} changes feature maps inside the network, so a head on a frozen network learns nothing "
                "from it. Take --train all, or another augmentation"
            )
    if views < 1:
        raise ValueError(f"views is the number of mixed views of each image, at least 1; got {views}")
    return chain


class _Maker:
    """Makes the views of the images of one batch after the other. The arguments are those of `mix_views`.

    Attributes:
        mix: BackMix with its bank; None if it is not part of the augmentation.
    """

    def __init__(
        self,
        classifier: Decider,
        source: ImageSource,
        labels: Tensor,
        positions: Tensor,
        augmentation: str,
        options: dict[str, Any] | None,
        seed: int,
        workers: int,
    ) -> None:
        self.classifier, self.labels, self.positions = classifier, labels, positions
        self.seed, self.workers = seed, workers
        self.frozen: FrozenFeatures = classifier.frozen_features
        estimator, chosen = choose_estimator(options)
        chain = make_augmentation(augmentation, len(positions), classifier.preprocess, chosen)
        if chain is None:
            raise ValueError("augmentation none mixes nothing")
        self.chain: Chain = chain
        self.mix = chain.backmix
        self.maps = self.mix is not None and self.mix.estimate.reads_bank
        self.masks = self.mix is not None and self.mix.foreground == "masks"
        self.source: ImageSource = source
        if self.masks and estimator is not None:
            self.source = EstimatedMasks(source, estimator, workers=workers, decoding=classifier.preprocess.decoding)
        self.keys: list[bytes] = []
        for key in content_keys(source, positions.tolist(), workers=workers):
            if isinstance(key, ImageError):
                raise key
            self.keys.append(key)
        self.head = weights_key(classifier.network.head)
        own_masks = positions if self.masks and estimator is None else positions[:0]
        self.name = _digest(
            self.keys,
            labels[positions].tolist(),
            [_mask_key(source, int(position)) for position in own_masks],
            (augmentation, sorted((options or {}).items()), seed, BATCH, __version__, "and which are mixed"),
            self.head if self.maps else None,
        )

    def batch(self, number: int, rows: Tensor, views: int) -> tuple[dict[tuple[int, int], Tensor], int]:
        """Return features, targets and whether it is mixed (C + K + 1,) by view and row, and how many are new."""
        keys = {(view, row): _digest(self.name, view, row) for view in range(views) for row in rows.tolist()}
        kept = self.frozen.cache.find(self.frozen.space, list(keys.values()))
        found = {place: torch.from_numpy(kept[key]) for place, key in keys.items() if key in kept}
        missing = [view for view in range(views) if any((view, row) not in found for row in rows.tolist())]
        images = self._read(rows) if missing else None
        if self.maps:
            self._fill_bank(rows, images)
        for view in missing:
            assert images is not None
            values = self._view(view, number, rows, images)
            made = {(view, row): values[k] for k, row in enumerate(rows.tolist())}
            self.frozen.cache.keep(self.frozen.space, {keys[place]: value.numpy() for place, value in made.items()})
            found |= made
        return found, len(missing) * len(rows)

    def _read(self, rows: Tensor) -> Decoded:
        decoded = decode(
            self.source,
            self.labels,
            self.classifier.preprocess,
            positions=self.positions[rows].tolist(),
            masks=self.masks,
            workers=self.workers,
        )
        if decoded.skipped:
            raise ImageError(*decoded.skipped[0])
        return decoded

    def _fill_bank(self, rows: Tensor, images: Decoded | None) -> None:
        """Put the evidence maps of some images into the bank, before these are mixed."""
        assert self.mix is not None
        bank, cache, labels = self.mix.bank, self.frozen.cache, self.labels[self.positions[rows]]
        keys = [
            _digest("evidence", bank.grid, self.head, self.keys[row], int(label))
            for row, label in zip(rows.tolist(), labels, strict=True)
        ]
        kept = cache.find(self.frozen.space, keys)
        if len(kept) == len(set(keys)):
            maps = torch.stack([torch.from_numpy(kept[key]) for key in keys]).view(-1, bank.grid, bank.grid)
        else:
            pixels = (images or self._read(rows)).images
            head = self.classifier.network.head
            device = next(iter(head.state_dict().values())).device
            # Maps of a few images at a time take little memory.
            parts = [
                head.evidence(self.frozen.maps_of_images(some).to(device), known.to(device)).float().cpu()
                for some, known in zip(pixels.split(32), labels.split(32), strict=True)
            ]
            maps = resize_map(torch.cat(parts), bank.grid)
            cache.keep(self.frozen.space, zip(keys, (map.flatten().numpy() for map in maps), strict=True))
        # A map that is 0 everywhere says nothing about where the object is.
        observed = (maps != 0).flatten(1).any(1)[:, None, None].expand_as(maps)
        device = bank.maps.device
        generator = torch.Generator().manual_seed(seed_of(self.seed, "rounding of maps", int(rows[0])))
        bank.update(
            rows.to(device), maps.to(device), observed.contiguous().to(device), momentum=1.0, generator=generator
        )

    def _view(self, view: int, number: int, rows: Tensor, images: Decoded) -> Tensor:
        """Mix a batch, and return features, targets and whether each image is mixed (B, C + K + 1) float32."""
        self.chain.set_generator(torch.Generator().manual_seed(seed_of(self.seed, "mixed view", view, number)))
        device = next(self.frozen.backbone.parameters()).device
        labels, masks = images.labels.to(device), None if images.masks is None else images.masks.to(device)
        index = rows.to(device)
        pixels = self.frozen.preprocess.normalise(images.images.to(device))
        mixed = self.chain.before_crop(pixels, index, labels=labels, masks=masks, view=None)
        mixed = self.chain.behind_crop(mixed, index, labels=labels)
        targets = torch.zeros(len(rows), len(self.classifier.classes))
        for given, weight in self.chain.targets(images.labels) or ((images.labels, 1.0),):
            targets += weight * F.one_hot(given, targets.shape[1])
        told = torch.zeros(len(rows)) if self.mix is None or self.mix.mixed is None else self.mix.mixed.float().cpu()
        return torch.cat([self.frozen.of_images(self.frozen.preprocess.denormalise(mixed)), targets, told[:, None]], 1)


def _mask_key(source: ImageSource, position: int) -> bytes:
    mask = source.read_mask(position)
    return b"" if mask is None else hashlib.sha256(f"{mask.size}".encode() + mask.tobytes()).digest()


def _digest(*parts: object) -> bytes:
    """Return 32 bytes that name the parts: equal for equal parts, different for others."""
    return hashlib.sha256(repr(parts).encode()).digest()
