"""Show how BackMix mixes training images: the target, the donor, its map, what is masked, and the mixed image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from backmix.augmentations import make_augmentation
from backmix.classifier import OpenSetClassifier
from backmix.data.load import absolute, load_source, recorded_here, training_split
from backmix.data.loader import decode
from backmix.data.preprocess import Preprocess
from backmix.errors import BackmixError, RunError
from backmix.foregrounds import EstimatedMasks
from backmix.foregrounds.choose import choose_estimator
from backmix.inference.evidence import evidence_maps
from backmix.mixing import BackMix
from backmix.mixing.bank import resize_map
from backmix.mixing.checks import check_cells
from backmix.pages.pictures import data_uri, hatched, outlined, spotlight, thumbnail
from backmix.pages.words import quoted, visible
from backmix.report.run_facts import RunFacts
from backmix.report.training_images import kept_bank, shares_of, training_positions

CHECKPOINT = "checkpoint.pt"
BATCH = 24
MOST = 5


@dataclass(frozen=True)
class Picture:
    """One picture of a sample.

    Attributes:
        address: The picture, as a data address.
        part: The part of the sample that the picture shows, for example "donor".
        words: A description of the picture.
        of: The class of the image; None if the picture stands for no class.
    """

    address: str
    part: str
    words: str
    of: str | None = None


@dataclass(frozen=True)
class MixedSamples:
    """The samples, or the reason why there are none.

    Attributes:
        samples: The pictures of each sample, in order.
        how: One or two sentences on how the images are mixed.
        maps: A sentence on the origin of the maps.
        missing: The reason why there are no samples, and what to do; None if there are samples.
    """

    samples: list[list[Picture]] = field(default_factory=list)
    how: str = ""
    maps: str = ""
    missing: str | None = None


def mixed_samples(
    facts: RunFacts, classifier: OpenSetClassifier, *, moved: str | None = None, most: int = MOST
) -> MixedSamples:
    """Mix some training images in the way that the training of the run did.

    The maps are those of the foreground bank in the checkpoint of the training, if the bank still fits the images.
    Otherwise the trained network computes them anew. The choice of images and the places of patches depend only on the
    run.

    Args:
        facts: The facts of the run.
        classifier: The classifier of the run.
        moved: Where the data of the run lies now. If None, where it lay when the run was trained.
        most: The largest number of samples.
    """
    name = str(facts.arguments.get("augmentation", "none"))
    if not {"backmix", "swap"} & set(name.split("+")):
        return MixedSamples(
            missing="This run was trained without BackMix, so there is nothing mixed to show. To train with it: "
            "backmix fit DATA --augmentation backmix --out RUN."
        )
    if _mixed_nothing(facts):
        return MixedSamples(
            missing="The training mixed no image: 0 % of them show a part of another image. Each was left whole, as "
            "without BackMix."
        )
    try:
        return _samples(facts, classifier, name, moved, most)
    except (BackmixError, ValueError) as error:  # Raised if images, packages or weights are missing.
        return MixedSamples(missing=f"Samples of the training cannot be shown: {visible(str(error), 600)}")


def _mixed_nothing(facts: RunFacts) -> bool:
    """Return whether the run tells the share of images mixed, in epochs or in views, and it is 0."""
    views = facts.head.get("mixed_views")
    told = [entry.get("mixed") for entry in facts.history] or [views.get("mixed") if isinstance(views, dict) else None]
    return all(share == 0 for share in told)


def _samples(facts: RunFacts, classifier: OpenSetClassifier, name: str, moved: str | None, most: int) -> MixedSamples:
    shares = shares_of(facts.folder, moved)
    data = shares.opened if shares else moved or recorded_here(str(facts.arguments.get("data")))
    data = absolute(data)
    split = training_split(data)
    source = load_source(data, split)
    bank = kept_bank(facts.folder / CHECKPOINT)
    positions = training_positions(
        facts, classifier, source, shares, split, None if bank is None else len(bank["maps"])
    )
    given = dict(facts.arguments.get("augmentation_options") or {})
    if facts.arguments.get("patch_side") is not None:
        given["patch_side"] = facts.arguments["patch_side"]
    estimator, options = choose_estimator(given)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randperm(len(positions), generator=generator)[:BATCH]
    places = positions[rows].tolist()
    masked = options.get("foreground") == "masks"
    pictures = source
    if estimator is not None:
        pictures = EstimatedMasks(source, estimator, decoding=classifier.preprocess.decoding)
    decoded = decode(pictures, classifier.labels_for(source), classifier.preprocess, positions=places, masks=masked)
    if len(decoded.images) < 2:
        raise RunError(f"fewer than two of the training images in {data} can be read")
    if bank is not None and len(bank["maps"]) == len(positions) and len(decoded.images) == len(rows):
        mix = _backmix(name, len(positions), classifier.preprocess, options)
        mix.bank.load_state_dict(bank)
        index, maps = rows, "The maps are those of the foreground bank at the end of the training."
    else:
        mix = _backmix(name, len(decoded.images), classifier.preprocess, options)
        found = evidence_maps(classifier, decoded.images, decoded.labels)
        if mix.estimate.reads_bank:
            check_cells(found.shape[1:], mix.foreground)
        mix.bank.maps.copy_(resize_map(found, mix.bank.grid))
        mix.bank.seen.copy_((found != 0).flatten(1).any(1))
        index = torch.arange(len(decoded.images))
        maps = "The maps are computed anew by the trained network; those of the training are not kept, or do not fit."
    if mix.foreground not in ("free", "clean"):
        maps = f"The foreground is not taken from maps of the network; it is {mix.foreground!r}."
    return _show(classifier, mix, index, decoded.images, decoded.labels, decoded.masks, generator, maps, most)


def _show(
    classifier: OpenSetClassifier,
    mix: BackMix,
    index: Tensor,
    pixels: Tensor,
    labels: Tensor,
    masks: Tensor | None,
    generator: torch.Generator,
    maps: str,
    most: int,
) -> MixedSamples:
    images = classifier.preprocess.normalise(pixels)
    size = (images.shape[2], images.shape[3])
    mix.generator = generator
    draw = mix.draw(tuple(images.shape), labels=labels)
    if masks is not None:
        foreground = masks
    elif mix.foreground == "none":
        foreground = torch.zeros(len(images), *size, dtype=torch.bool)
    else:
        # The same seed here and below, so that both draw the same cells.
        generator.manual_seed(1)
        foreground = mix.foreground_mask(index, size)
        if draw.race is not None:
            draw = replace(draw, race=torch.empty_like(draw.race).exponential_(generator=generator.manual_seed(1)))
    mixed = mix(images, index, labels=labels, masks=masks, draw=draw)
    changed = ((mixed != images).flatten(1).any(1) & (draw.donor != torch.arange(len(images)))).nonzero().flatten()
    samples = []
    evidence = mix.bank.read(index) if mix.foreground in ("free", "clean") else foreground.float()
    for row in changed[:most].tolist():
        donor = int(draw.donor[row])
        names = [classifier.classes[int(labels[k])] for k in (row, donor)]
        target_name, donor_name = map(quoted, names)
        donor_picture = thumbnail(_pixels(pixels[donor]))
        rest, result = hatched(donor_picture, foreground[donor]), _picture(mixed[row], classifier.preprocess)
        if mix.how == "patch":
            for patch in range(mix.num_patches):
                rest = outlined(rest, _box(draw.cut[patch, :, row], draw.side, size))
                result = outlined(result, _box(draw.paste[patch, :, row], draw.side, size))
        shown = [
            Picture(data_uri(thumbnail(_pixels(pixels[row]))), "target", f"Target: image of {target_name}", names[0]),
            Picture(data_uri(donor_picture), "donor", f"Donor: image of {donor_name}", names[1]),
            Picture(
                data_uri(spotlight(donor_picture, evidence[donor])),
                "its map",
                f"Donor, bright where its object {donor_name} is estimated to be",
            ),
            Picture(
                data_uri(rest),
                "what is masked",
                "Donor, hatched where its object is estimated to be; what is not hatched may be taken as background",
            ),
            Picture(data_uri(result), "mixed", f"Mixed image, still labelled {target_name}"),
        ]
        samples.append(shown)
    how = {
        "patch": "A square of the donor's background is pasted anywhere into the target; frames show where it is cut "
        "out and where it lands.",
        "swap": "The background of the target is replaced by that of the donor; its own object stays.",
    }[mix.how]
    missing = None if samples else "None of the training images that were tried would be mixed with these options."
    return MixedSamples(samples, how, maps, missing)


def _backmix(name: str, images: int, preprocess: Preprocess, options: dict[str, Any]) -> BackMix:
    chain = make_augmentation(name, images, preprocess, options)
    assert chain is not None and chain.backmix is not None  # The caller checked that the name contains one.
    return chain.backmix


def _pixels(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _picture(image: Tensor, preprocess: Preprocess) -> Image.Image:
    """Return a normalised image (3, S, S) as a visible picture."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    return thumbnail(_pixels(((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)))


def _box(corner: Tensor, side: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
    top, left = corner.tolist()
    return left / size[1], top / size[0], (left + side) / size[1], (top + side) / size[0]
