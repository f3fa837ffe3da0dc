"""`backmix fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Data, Precision, Workers, read_options


def fit(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")],
    known_classes: Annotated[
        str | None, typer.Option(help="Known classes by name or number, as a,b,c; the rest is left out. Default: all.")
    ] = None,
    model: Annotated[str, typer.Option(help="compact, compact-s, vgg32, wrn-40-4, resnet18-small, or a timm name.")] = (
        "compact"
    ),
    image_size: Annotated[int | None, typer.Option(help="Side in pixels. Default: by the images, at most 224.")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Training objective: softmax, gcpl, rpl, arpl, arpl-cs, pcssr, rcssr, proser, cac, entropic, "
            "objectosphere, outlier-exposure, conosr, negcossch, rotation."
        ),
    ] = "softmax",
    method_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the method; may be given again.")
    ] = None,
    augmentation: Annotated[
        str,
        typer.Option(
            help="What is done to a training batch: none, backmix, swap, mixup, cutmix, cutout, gridmask, "
            "hide-and-seek, mixstyle, randaugment, or several, as randaugment+backmix."
        ),
    ] = "none",
    augmentation_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="An option of the augmentation, such as foreground=clean; may be given again."
        ),
    ] = None,
    outliers: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Images of no known class for methods that learn from them, or 'backgrounds': the training images "
            "with their objects masked.",
        ),
    ] = None,
    patch_side: Annotated[
        float | None, typer.Option(help="BackMix: side of a patch as a share of the image's. Default: 0.25.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set. Default: by its size.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step. Default: by the set's size.")] = None,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate. Default: by the model.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Unknown score that decides: method (its own), max_logit, msp, energy, openmax, knn, vim, ...; see "
            "docs/detectors.md. Default: max_logit for softmax, method for others."
        ),
    ] = None,
    accept: Annotated[float, typer.Option(help="Share of known images that the threshold is to accept.")] = 0.95,
    label_smoothing: Annotated[float, typer.Option(help="Smoothing of the training targets.")] = 0.0,
    pretrained: Annotated[bool, typer.Option(help="Start from published weights (timm models).")] = False,
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of training and prediction; auto: what this machine is quicker in.")
    ] = Precision.auto,
    workers: Workers = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
) -> None:
    """Train a classifier that can say "unknown", and calibrate it on images held out."""
    from backmix.commands.fit import FitArguments, fit_command

    fit_command(
        FitArguments(
            data=data,
            known_classes=known_classes,
            model=model,
            image_size=image_size,
            method=method,
            method_options=read_options(method_option),
            augmentation=augmentation,
            augmentation_options=read_options(augmentation_option),
            outliers=outliers,
            patch_side=patch_side,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            seed=seed,
            detector=detector,
            accept=accept,
            label_smoothing=label_smoothing,
            pretrained=pretrained,
            precision=precision.value,
        ),
        out,
        resume=resume,
        workers=workers,
    )
