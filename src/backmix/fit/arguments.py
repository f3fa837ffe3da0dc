"""The options of a training. The command line, its help and fit.yaml are made from this declaration."""

# Annotations are no strings here: the command line reads them whenever it starts, and strings take longer.
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from backmix.data.names import join_names
from backmix.threshold.default import ACCEPT


@dataclass(frozen=True)
class FitArguments:
    """The options of a `backmix fit`. Options that are None are chosen by the data and the machine.

    Each field has its type, the help text of its option and, if needed, the placeholder of its value. With
    `near_duplicates` off and `test_share` at 0, all images that are not held out for calibration are trained on.
    """

    data: str
    known_classes: Annotated[
        str | list[str] | None,
        "Known classes by name or number, as a,b,c; the rest is left out. A comma in a name has a backslash before it, "
        "or the option is given again for each name. Default: all.",
    ] = None
    min_images: Annotated[
        int | None, "Leave out classes of fewer images; they then count as unknown. Default: none is left out."
    ] = None
    model: Annotated[
        str | None,
        "compact, compact-s, vgg32, wrn-40-4, resnet18-small, or a timm name. Default: a timm model where its "
        "published weights are at hand and the images are large enough, else compact.",
    ] = None
    image_size: Annotated[int | None, "Side in pixels. Default: by the images, at most 224."] = None
    method: Annotated[
        str,
        "Training objective: softmax, gcpl, rpl, arpl, arpl-cs, pcssr, rcssr, proser, cac, entropic, "
        "objectosphere, outlier-exposure, conosr, negcossch, rotation; on features of published weights alone: "
        "nearest-mean, knn, mahalanobis.",
    ] = "softmax"
    method_options: Annotated[dict[str, Any], "An option of the method; may be given again."] = field(
        default_factory=dict
    )
    augmentation: Annotated[
        str,
        "What is done to a training batch: none, backmix, swap, mixup, cutmix, cutout, gridmask, "
        "hide-and-seek, mixstyle, randaugment, or several, as randaugment+backmix.",
    ] = "none"
    augmentation_options: Annotated[
        dict[str, Any], "An option of the augmentation, such as foreground=clean; may be given again."
    ] = field(default_factory=dict)
    views: Annotated[
        int, "Where the head alone is trained with an augmentation: mixed views of each image that it learns from."
    ] = 3
    patch_side: Annotated[float | None, "BackMix: side of a patch as a share of the image's. Default: 0.25."] = None
    outliers: Annotated[
        str | None,
        "Images of no known class for methods that learn from them, or 'backgrounds': the training images with their "
        "objects masked.",
        "DATA",
    ] = None
    epochs: Annotated[int | None, "Passes over the training set. Default: by its size."] = None
    budget: Annotated[str | None, "As many epochs as fit into 10m, 1h30m, ... on this machine.", "TIME"] = None
    batch_size: Annotated[int | None, "Images per step. Default: by the set's size."] = None
    lr: Annotated[float | None, "Largest learning rate. Default: by the model."] = None
    seed: Annotated[int, "Everything random follows from it."] = 0
    holdout: Annotated[float | None, "Share of each class to calibrate on. Default: by the set's size."] = None
    test_share: Annotated[
        float | None,
        "Share of each class to test on; 0 keeps none. Default: by the set's size, unless it has its own.",
    ] = None
    near_duplicates: Annotated[bool, "Whether to look for near-duplicates, which then stay on one side."] = True
    balance: Annotated[
        bool | None, "Whether images of rare classes are shown more often. Default: where sizes are uneven."
    ] = None
    detector: Annotated[
        str | None,
        "Unknown score that decides: method (its own), max_logit, msp, energy, openmax, knn, vim, ...; see "
        "docs/detectors.md. Default: chosen by leaving known classes out where published weights are used and there "
        "are at least five classes; else max_logit for softmax, method for others.",
    ] = None
    accept: Annotated[
        float | None,
        f"Share of known images that the threshold is to accept. Default: {ACCEPT}, or as much as the held-out images "
        "allow.",
    ] = None
    label_smoothing: Annotated[float, "Smoothing of the training targets."] = 0.0
    pretrained: Annotated[
        bool | None, "Start from published weights (timm models). Default: where they are at hand."
    ] = None
    train: Annotated[
        Literal["auto", "head", "all"],
        "What is trained. head: the head alone, on features of the published weights, in seconds; all: all weights; "
        "auto: the head where published weights are at hand, and with --budget all weights in the time that is left, "
        "if that is better.",
    ] = "auto"
    cache: Annotated[
        str | None,
        "Folder of the features that are kept between runs, or 'none'. Default: $BACKMIX_CACHE or the user's cache "
        "folder.",
        "DIR",
    ] = None
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        "Arithmetic of training and prediction; auto: what this machine is quicker in.",
    ] = "auto"

    def __post_init__(self) -> None:
        """Store a list of names as the text that a person would type, because a run records the text."""
        if isinstance(self.known_classes, list | tuple):
            object.__setattr__(self, "known_classes", join_names(self.known_classes))
