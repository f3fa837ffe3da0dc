"""What commands are asked for, declared once: their options and help follow from here, see `backmix.cli.declared`."""

# Annotations are no strings here: the command line reads them whenever it starts, and strings take longer.
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from backmix.cli.options import Workers


class Kind(StrEnum):
    """Kinds of files of answers."""

    csv = "csv"
    jsonl = "jsonl"
    json = "json"
    parquet = "parquet"


class Linking(StrEnum):
    """Ways of getting a file into a folder."""

    copy = "copy"
    hard = "hard"
    symbolic = "symbolic"


@dataclass(frozen=True)
class PredictArguments:
    """What `backmix predict` is asked to do with its answers."""

    out: Annotated[Path | None, "Write a .csv, .jsonl, .json or .parquet file instead of a table.", "FILE"] = None
    kind: Annotated[
        Kind | None,
        typer.Option("--format", help="Kind of the file. Default: by its name. Without --out, to standard output."),
    ] = None
    sort_into: Annotated[
        Path | None, "Also copy each image into DIR/CLASS or DIR/unknown; nothing is moved.", "DIR"
    ] = None
    link: Annotated[Linking | None, "With --sort-into: copy (default), or link."] = None
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a FILE that was not finished.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False
    recursive: Annotated[bool, "Whether to enter the folders in folders."] = True
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that decode images. Default: one a processor, at most 8.")
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images the model sees at a time. Default: by their size.")
    ] = None
    top: Annotated[int, typer.Option(min=1, help="How many of the likeliest classes to tell.")] = 3


@dataclass(frozen=True)
class AppArguments:
    """How the page is served."""

    host: Annotated[str, "Address to listen on. Default: this machine alone; 0.0.0.0 is every network."] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 7860
    max_upload: Annotated[int, typer.Option(min=1, metavar="MB", help="Largest file, in units of 10**6 bytes.")] = 20
    max_space: Annotated[
        int,
        typer.Option(min=1, metavar="MB", help="Room for all files that wait for answers, in units of 10**6 bytes."),
    ] = 2000
    # 300 MB as RGB; the cameras of most telephones stay below it.
    max_pixels: Annotated[int, typer.Option(min=1, help="Width times height of the largest picture.")] = 100_000_000
    max_files: Annotated[int, typer.Option(min=1, help="How many pictures are answered at once.")] = 200
    open_browser: Annotated[bool, "Open the page in the browser of this machine."] = False


@dataclass(frozen=True)
class AuditArguments:
    """What `backmix audit` was asked for; None: chosen by the data and the model."""

    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The folder of a run; a timm name, such as resnet50 or timm:NAME@FILE.safetensors; a TorchScript file "
            "(.pt) or ONNX file; or package.module:function, called with pixels (B, 3, S, S) in 0..1 for logits.",
        ),
    ]
    data: str
    masks: Annotated[
        str | None,
        "Where objects are: true (masks of DATA), a path of masks, or an estimate: saliency, grabcut, attention, "
        "pretrained, centre. Default: true, or saliency where DATA has no masks.",
    ] = None
    split: Annotated[str | None, "Split of DATA. Default: test where there is one."] = None
    scenes: Annotated[str | None, "Images of backgrounds with class names, to name what a class leans on.", "DATA"] = (
        None
    )
    scenes_split: Annotated[str | None, "Their split. Default: as for DATA."] = None
    unknown: Annotated[
        str | None,
        "Images with objects of unknown classes. Default: for models that say unknown, images of DATA whose class the "
        "model does not know.",
        "DATA",
    ] = None
    unknown_split: Annotated[str | None, "Their split. Default: as for DATA."] = None
    class_map: Annotated[
        Path | None, "YAML: class of DATA, and the outputs of the model that stand for it: dog: [151-268]", "FILE"
    ] = None
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Side in pixels. Default: the model's, otherwise by the images.")
    ] = None
    mean: Annotated[
        tuple[float, float, float] | None, "For TorchScript and ONNX: mean of pixels in 0..1, as 0.485,0.456,0.406."
    ] = None
    std: Annotated[
        tuple[float, float, float] | None, "For TorchScript and ONNX: deviation of pixels in 0..1, as the mean."
    ] = None
    seed: Annotated[int, "Everything random follows from it."] = 0
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images that the model is shown at once.")] = None
    workers: Workers = 2


@dataclass(frozen=True)
class BenchArguments:
    """What `backmix bench` was asked for; None: chosen by the protocol."""

    protocols: Annotated[
        tuple[str, ...],
        typer.Argument(
            metavar="PROTOCOL...",
            help="mnist, svhn, cifar10, cifar+10, cifar+50, tiny-imagenet, cifar10-ood, cub, stanford-cars, "
            "fgvc-aircraft, imagenet-1k, or digits[:prior=0.8], the embedded set.",
        ),
    ]
    split_list: Annotated[str | None, "Lists of known classes: arpl, neal, f1 or cssr. Default: by the protocol."] = (
        None
    )
    trials: Annotated[tuple[str, ...] | None, "Which lists, as a,b,c. Default: all."] = None
    methods: Annotated[tuple[str, ...], "Training objectives, as a,b,c, or all."] = ("softmax",)
    augmentations: Annotated[tuple[str, ...], "As a,b,c."] = ("none", "backmix")
    seeds: Annotated[tuple[int, ...], "As 0,1,2."] = (0,)
    recipe: Annotated[str, "How to train: cpu, fast, paper, closed-set or frozen."] = "cpu"
    ablation: Annotated[str | None, "Also BackMix with one option moved, such as patch-side, or all of them."] = None
