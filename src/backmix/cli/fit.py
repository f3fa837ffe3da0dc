"""`backmix fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Config, Data, Precision, Workers, read_options


def fit(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the run.")],
    known_classes: Annotated[
        str | None, typer.Option(help="Known classes by name or number, as a,b,c; the rest is left out. Default: all.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="compact, compact-s, vgg32, wrn-40-4, resnet18-small, or a timm name. Default: a timm model where its "
            "published weights are at hand and the images are large enough, else compact."
        ),
    ] = None,
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
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="As many epochs as fit into 10m, 1h30m, ... on this machine.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step. Default: by the set's size.")] = None,
    lr: Annotated[float | None, typer.Option(help="Largest learning rate. Default: by the model.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    holdout: Annotated[
        float | None, typer.Option(help="Share of each class to calibrate on. Default: by the set's size.")
    ] = None,
    test_share: Annotated[
        float | None,
        typer.Option(
            help="Share of each class to test on; 0 keeps none. Default: by the set's size, unless it has its own."
        ),
    ] = None,
    near_duplicates: Annotated[
        bool, typer.Option(help="Whether to look for near-duplicates, which then stay on one side.")
    ] = True,
    balance: Annotated[
        bool | None,
        typer.Option(help="Whether images of rare classes are shown more often. Default: where sizes are uneven."),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Unknown score that decides: method (its own), max_logit, msp, energy, openmax, knn, vim, ...; see "
            "docs/detectors.md. Default: max_logit for softmax, method for others."
        ),
    ] = None,
    accept: Annotated[float, typer.Option(help="Share of known images that the threshold is to accept.")] = 0.95,
    label_smoothing: Annotated[float, typer.Option(help="Smoothing of the training targets.")] = 0.0,
    pretrained: Annotated[
        bool | None,
        typer.Option(help="Start from published weights (timm models). Default: where they are at hand."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of training and prediction; auto: what this machine is quicker in.")
    ] = Precision.auto,
    workers: Workers = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    config: Config = None,
) -> None:
    """Train a classifier that can say "unknown", and calibrate it on images held out."""
    from backmix.cli.fit_command import fit_command
    from backmix.fit.arguments import FitArguments

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
            budget=budget,
            batch_size=batch_size,
            lr=lr,
            seed=seed,
            holdout=holdout,
            test_share=test_share,
            near_duplicates=near_duplicates,
            balance=balance,
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
