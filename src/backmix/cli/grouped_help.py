"""The help of a command: the options that people need first, then the rest in groups, all readable at 80 columns."""

from __future__ import annotations

import textwrap
from typing import Any

from typer.core import TyperCommand

FIRST = "Options needed first"
REST = "More options"
LONGEST = 26  # Options with longer names stand on a line of their own.

GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "fit": {
        FIRST: (
            *("out", "known_classes", "budget", "accept", "train", "augmentation", "model", "image_size", "config"),
            "resume",
        ),
        "What is trained": ("pretrained", "method", "method_option", "augmentation_option", "views", "patch_side"),
        "How long and how": ("epochs", "batch_size", "lr", "label_smoothing", "balance", "seed", "precision"),
        "Which images are for what": ("holdout", "test_share", "near_duplicates", "min_images", "outliers"),
        "What is called unknown": ("detector",),
        "The machine": ("workers", "cache"),
    },
    "audit": {
        FIRST: ("out", "masks", "split", "unknown", "scenes", "class_map", "resume", "fail_above"),
        "Further images": ("unknown_split", "scenes_split"),
        "How the model sees": ("image_size", "mean", "std"),
        "The machine": ("seed", "batch_size", "workers"),
    },
    "bench": {
        FIRST: (
            *("out", "methods", "augmentations", "seeds", "recipe", "root", "trials", "split_list", "epochs"),
            "dry_run",
        ),
        "What is compared": ("ablation", "detectors", "unknown_sets", "outliers"),
        "The machine": ("precision", "workers"),
        "Several machines": ("cluster", "cpus_per_cell", "gpus_per_cell"),
    },
    "study": {
        FIRST: ("out", "scenes", "known_classes", "parts", "priors", "seeds", "model", "image_size", "epochs"),
        "Further images": ("other_scenes", "outliers"),
        "The machine": ("workers",),
    },
    "predict": {
        FIRST: ("out", "kind", "sort_into", "link", "resume", "overwrite", "recursive", "top"),
        "The machine": ("workers", "batch_size"),
    },
}
"""For each command with many options, the groups and the names of the options in them, in the order of the help."""


class GroupedCommand(TyperCommand):
    """A command whose help is plain text in groups, with the names of options whole, however narrow the terminal."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write usage, description, arguments and the groups of options."""
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        arguments: list[tuple[str, str]] = []
        options: dict[str, tuple[str, str]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and param.param_type_name == "argument":
                arguments.append(record)
            elif record is not None:
                options[str(param.name)] = record
        _section(formatter, "Arguments", arguments)
        groups = GROUPS.get(str(self.name), {})
        for title, names in groups.items():
            _section(formatter, title, [options.pop(name) for name in names if name in options])
        _section(formatter, REST if groups else "Options", list(options.values()))


def _section(formatter: Any, title: str, records: list[tuple[str, str]]) -> None:
    """Write a heading, and for each (names, description) the names whole and the description beside or below them."""
    if not records:
        return
    column = max((len(names) for names, _ in records if len(names) <= LONGEST), default=LONGEST)
    lines = ["", f"{title}:"]
    for names, description in records:
        # Before 0.23, typer escapes what rich takes for markup, though this text is not for rich.
        description = description.replace("\\[", "[")
        # Names such as hide-and-seek are not broken at their hyphens.
        words = textwrap.wrap(
            description, formatter.width - column - 4, break_on_hyphens=False, break_long_words=False
        ) or [""]
        if len(names) > column:
            lines.append(f"  {names}")
        beside = names if len(names) <= column else ""
        lines += [f"  {beside if k == 0 else '':{column}}  {text}".rstrip() for k, text in enumerate(words)]
    formatter.write("\n".join(lines) + "\n")
