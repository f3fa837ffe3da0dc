"""From what a study was asked for to what it is made on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backmix.data.known import choose_known
from backmix.data.load import available_splits, load_source, training_split
from backmix.data.names import match_names
from backmix.data.source import ImageSource
from backmix.errors import DataError
from backmix.fit.digits import OPTIONS
from backmix.study.arguments import StudyArguments
from backmix.study.setting import (
    DigitsSetting,
    ObjectsSetting,
    PhotosSetting,
    Setting,
    check_masks,
    default_known,
)


def make_setting(
    arguments: StudyArguments, *, on_data: Callable[[ImageSource], object] = lambda source: None
) -> Setting:
    """Open what the study is made on.

    Args:
        arguments: The arguments of the command.
        on_data: A function that is called with each data set or split that is opened.

    Raises:
        DataError: for data without masks, options that do not go together, or numbers out of range.
    """
    priors = tuple(sorted(set(arguments.priors or ()))) or None
    if not all(0 <= prior <= 1 for prior in priors or ()):
        raise DataError(f"priors are rates in 0..1; got {list(arguments.priors or ())}")
    if arguments.data == "digits":
        given: dict[str, Any] = {"--scenes": arguments.scenes, "--known-classes": arguments.known_classes}
        given |= {"--image-size": arguments.image_size, "--outliers": arguments.outliers}
        if names := [name for name, value in given.items() if value is not None]:
            raise DataError(f"the embedded digits bring their own; leave out {', '.join(names)}")
        options = replace(OPTIONS, epochs=arguments.epochs or OPTIONS.epochs)
        return DigitsSetting(priors, options, arguments.model)
    if arguments.data.startswith("digits:"):
        raise DataError("the study chooses the options of the digits itself; say digits, and --priors")
    data = _both(arguments.data, on_data)
    for source in data:
        check_masks(source, arguments.data)
    classes = data[0].classes
    known = (
        default_known(data[0])
        if arguments.known_classes is None
        else [classes[number] for number in choose_known(classes, arguments.known_classes)]
    )
    shared: dict[str, Any] = {
        "image_size": arguments.image_size or 64,
        "model": arguments.model or "compact-s",
    }
    if arguments.scenes is None:
        if arguments.priors or arguments.other_scenes or arguments.outliers:
            raise DataError("--priors, --other-scenes and --outliers go with --scenes, which objects are laid over")
        setting: Setting = PhotosSetting(data, known, arguments.data, **shared)
    else:
        other = arguments.other_scenes and _both(arguments.other_scenes, on_data)[1]
        outlier_set = arguments.outliers and _outlier_set(arguments.outliers, known, on_data)
        called = {
            "data": arguments.data,
            "scenes": arguments.scenes,
            "other_scenes": arguments.other_scenes,
            "outliers": arguments.outliers,
        }
        setting = ObjectsSetting(
            data,
            _both(arguments.scenes, on_data),
            known,
            called,
            others=other or None,
            outlier_set=outlier_set or None,
            priors=priors,
            **shared,
        )
    if arguments.epochs is not None:
        setting.options = replace(setting.options, epochs=arguments.epochs)
    return setting


def describe(setting: Setting, parts: list[str]) -> dict[str, Any]:
    """Return everything that decides the figures, as JSON has it."""
    described: dict[str, Any] = {
        "setting": setting.name,
        "data": setting.describe(),
        "model": setting.model,
        "image_size": setting.image_size,
        "priors": list(setting.priors),
        "parts": parts,
        "training": setting.options.to_dict(),
    }
    whole: dict[str, Any] = json.loads(json.dumps(described))
    return whole


def _both(spec: str, on_data: Callable[[ImageSource], object]) -> tuple[ImageSource, ImageSource]:
    """Open the training and the test images of data.

    Raises:
        DataError: when the data is not divided.
    """
    splits = available_splits(spec)
    test = next((name for name in ("test", "val") if name in splits), None)
    if "train" not in splits or test is None:
        raise DataError(
            f"{spec} must be divided into train and test: the study tests on images that nothing was trained on; it "
            f"has {', '.join(splits) or 'no splits'}"
        )
    both = load_source(spec, "train"), load_source(spec, test)
    for source in both:
        on_data(source)
    return both


def _outlier_set(spec: str, known: list[str], on_data: Callable[[ImageSource], object]) -> ImageSource:
    source = load_source(spec, training_split(spec), few=True)
    on_data(source)
    if same := list(match_names(source.classes, known)):
        raise DataError(f"outliers must show no known class; {spec} has {', '.join(same)}")
    return source
