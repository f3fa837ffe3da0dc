"""`backmix audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Data, Workers

GAP_TOO_LARGE = 3
"""Exit status when the background gap is above --fail-above; 1 and 2 are errors."""


def audit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The folder of a run; a timm name, such as resnet50 or timm:NAME@FILE.safetensors; a TorchScript file "
            "(.pt) or ONNX file; or package.module:function, called with pixels (B, 3, S, S) in 0..1 for logits.",
        ),
    ],
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for audit.html, audit.json and images.csv.")],
    masks: Annotated[
        str | None,
        typer.Option(
            help="Where objects are: true (masks of DATA), a path of masks, or an estimate: saliency, grabcut, "
            "attention, centre. Default: true, or saliency where DATA has no masks."
        ),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of DATA. Default: test where there is one.")] = None,
    scenes: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Images of backgrounds with class names, to name what a class leans on."),
    ] = None,
    scenes_split: Annotated[str | None, typer.Option(help="Their split. Default: as for DATA.")] = None,
    unknown: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Images with objects of unknown classes. Default: for models that say unknown, images of DATA whose "
            "class the model does not know.",
        ),
    ] = None,
    unknown_split: Annotated[str | None, typer.Option(help="Their split. Default: as for DATA.")] = None,
    class_map: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="YAML: class of DATA, and the outputs of the model that stand for it: dog: [151-268]"
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Side in pixels. Default: the model's, otherwise by the images.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="For TorchScript and ONNX: mean of pixels in 0..1, as 0.485,0.456,0.406.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="For TorchScript and ONNX: deviation, likewise.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    fail_above: Annotated[
        float | None,
        typer.Option(metavar="GAP", help="End with exit status 3 when the background gap (0.10 is 10 %) is above."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images that the model is shown at once.")] = None,
    workers: Workers = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the audit in DIR.")] = False,
) -> None:
    """Find out whether a classifier looks at the object or at the background."""
    from backmix.cli.audit_command import AuditArguments, audit_command, gap_above

    result = audit_command(
        AuditArguments(
            model=model,
            data=data,
            masks=masks,
            split=split,
            scenes=scenes,
            scenes_split=scenes_split,
            unknown=unknown,
            unknown_split=unknown_split,
            class_map=class_map,
            image_size=image_size,
            mean=_three(mean, "--mean"),
            std=_three(std, "--std"),
            seed=seed,
            batch_size=batch_size,
            workers=workers,
        ),
        out,
        resume=resume,
        fail_above=fail_above,
    )
    reason = None if fail_above is None else gap_above(result, fail_above)
    if reason is not None:
        typer.echo(f"backmix: {reason}", err=True)
        raise typer.Exit(GAP_TOO_LARGE)


def _three(given: str | None, option: str) -> tuple[float, float, float] | None:
    if given is None:
        return None
    try:
        numbers = tuple(float(number) for number in given.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise typer.BadParameter(f"{option} takes three numbers, as 0.5,0.5,0.5; got {given!r}")
    return numbers
