"""Make docs/study.md and its charts from results/study-*.json."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from backmix.study.charts import alternative, make_charts, samples
from backmix.study.part import Part, Table, prior_text, share, to_markdown
from backmix.study.part_audit import gap_told, kept_order, mask_errors
from backmix.study.plan import PARTS, trainings_of
from backmix.study.results import Results, accuracy, audited, auroc, gap, independent, misleading
from backmix.study.setting import DigitsSetting
from backmix.study.summary import summarise

ROOT = Path(__file__).parents[1]
PICTURED = ("digits", "leeds-on-scenes")
"""The studies whose charts are on the page. The others have only tables."""


@dataclass(frozen=True)
class Study:
    """A study with its result file.

    Attributes:
        name: The name in the file name results/study-NAME.json.
        title: The title on the page.
        options: The options of the command that makes the file.
    """

    name: str
    title: str
    options: str

    def read(self) -> dict[str, Any] | None:
        path = ROOT / "results" / f"study-{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


ON_SCENES = "--scenes intel-scenes --other-scenes dtd-part"
STUDIES = (
    Study("digits", "Embedded digits", ""),
    Study("leeds-on-scenes", "Butterflies on scenes", f"leeds-butterfly {ON_SCENES} --outliers cifar10"),
    Study("msrc-on-scenes", "MSRC objects on scenes", f"msrc-v2-objects {ON_SCENES} --outliers leeds-butterfly"),
    Study(
        "eth80-on-scenes",
        "ETH-80 objects on scenes",
        f"eth80 --known-classes apple,car,cow {ON_SCENES} --outliers leeds-butterfly",
    ),
    Study("leeds", "Butterflies as photographed", "leeds-butterfly --parts c,d"),
    Study("msrc", "MSRC objects as photographed", "msrc-v2-objects --parts c,d"),
    Study("eth80", "ETH-80 as photographed", "eth80 --known-classes apple,car,cow --parts c,d"),
)
CHANGES = ("patch", "swap", "swap, saliency", "swap, true masks")


def there() -> Iterator[tuple[Study, dict[str, Any]]]:
    """Yield the studies whose result files exist, with the content of the files."""
    for study in STUDIES:
        if (found := study.read()) is not None:
            yield study, found


def what_it_changes() -> Table:
    """Return a table of the differences, BackMix minus plain, in every study, whether gains or losses."""
    figures = (("accuracy", accuracy), ("accuracy, independent", independent), ("AUROC", auroc("Kk-Qk")))
    rows = []
    for study, found in there():
        results = Results(found)
        priors = [results.middle, results.strong] if results.priors else [None]
        for prior in dict.fromkeys(priors):
            for name in CHANGES:
                differences = [results.differences(name, prior, figure) for _, figure in figures]
                if not differences[0]:
                    continue
                shown = [counted(of) for of in differences]
                shown.append(counted(results.differences(name, prior, gap()), higher_is_better=False))
                rows.append([study.title, "–" if prior is None else prior_text(prior), name, *shown])
    return Table(
        "With BackMix minus plain, points, mean ± standard deviation, and in how many of the seeds it is better",
        ["study", "prior", "training", *(name for name, _ in figures), "background gap"],
        rows,
    )


def counted(differences: list[float], *, higher_is_better: bool = True) -> str:
    """Return the mean ± deviation of differences, and the number of differences that are an improvement."""
    if not differences:
        return "–"
    better = sum((value > 0) == higher_is_better and value != 0 for value in differences)
    return f"{share(differences, sign=True)} ({better}/{len(differences)})"


def not_helping() -> str:
    """Return lines that count the better and the worse comparisons of `what_it_changes`, by training and figure."""
    lines = []
    for name in CHANGES:
        counts = {"AUROC": [0, 0, 0], "accuracy": [0, 0, 0]}
        for _, found in there():
            results = Results(found)
            for prior in dict.fromkeys([results.middle, results.strong] if results.priors else [None]):
                for title, figure in (("AUROC", auroc("Kk-Qk")), ("accuracy", accuracy)):
                    of = results.differences(name, prior, figure)
                    if of:
                        counts[title][0 if min(of) > 0 else 1 if max(of) < 0 else 2] += 1
        told_counts = "; ".join(
            f"{title} higher in {up} of {up + down + mixed}, lower in {down}"
            for title, (up, down, mixed) in counts.items()
        )
        lines.append(f"- {name}: {told_counts}.")
    return "\n".join(lines)


def part_sections(key: str) -> list[str]:
    """Return the sections of one part, with a section for each study."""
    sections: list[str] = []
    for study, found in there():
        parts: dict[str, Part] = {part.key: part for part in summarise(found)}
        if key not in parts:
            continue
        part = parts[key]
        if not sections:
            sections += [f"## ({key}) {part.title}", part.about]
        sections.append(f"### {study.title}")
        sections.append("\n".join(f"- {sentence}" for sentence in part.findings))
        if study.name in PICTURED:
            sections.append(f"![{alternative(key)}](images/study-{study.name}-{key}.png)")
        sections += [to_markdown(table) for table in part.tables]
    return sections


def settings() -> Table:
    rows = []
    for study, found in there():
        setting = found["setting"]
        cells = [cell for cell in found["cells"] if not cell.get("left_out")]
        rows.append(
            [
                study.title,
                f"`backmix study {study.options} --out DIR`".replace("  ", " "),
                ", ".join(setting["data"]["known"]),
                f"{setting['model']}, {setting['image_size']} px, {setting['training']['epochs']} epochs",
                f"{len({cell['seed'] for cell in cells})}, {len(cells)}",
                f"{sum(cell['seconds'] for cell in cells) / 60:.0f}",
            ]
        )
    return Table("What was run", ["study", "command", "known classes", "network", "seeds, trainings", "minutes"], rows)


def page() -> str:
    """Return the text of docs/study.md."""
    parts = [
        "# The study: what a classifier learns of backgrounds",
        "<!-- Written by docs/make_results.py from results/study-*.json: change those, not this page. -->",
        "Put an unknown animal on a known meadow, and a classifier says “cow”. BackMix rests on that observation. Here it "
        "is made again, with dials: how often a class stands on its own background, what the network is trained with, "
        "and what unknown objects stand on. Everything is measured on the same networks: accuracy, AUROC, the "
        "[audit](audit.md), and the logits of single places.",
        "```sh\n# the embedded digits: no data needed\nbackmix study --out study\n"
        "# your objects, cut out by their masks, on scenes\nbackmix study DATA --scenes SCENES --out study\n"
        "# photographs as they are\nbackmix study DATA --out study\n```",
        "`study.html` in that folder is the page to look at, `study.json` has every figure of every network. A study that "
        "was cut off goes on where it was; more `--parts` and `--seeds` are added to what is there. DATA needs masks, and "
        "training and test images apart. Nothing is chosen by what comes out: the digits have the recipe of `backmix "
        "demo`, all else has one of its length, and every difference is that of two networks with the same weights to "
        "start from, order and crops.",
        "![Known digits in the training, and unknown ones in the test, on textures of known digits and on other ones."
        "](images/study-digits.png)",
        TEXT,
        "## Where BackMix does not help",
        "Counted over the rows of the table below: how often a figure is higher, or lower, in every seed. The rest are not the "
        "same in every seed. `patch` is BackMix as in the paper, `swap` replaces the whole background; both find the object by "
        "the bank, by saliency, or by true masks.",
        not_helping(),
        to_markdown(what_it_changes()),
        "“Independent” is accuracy on test images whose background says nothing of the class. AUROC is that of unknown "
        "objects on the backgrounds of known ones, by max logit. As photographed nobody can choose the prior.",
    ]
    for key in PARTS:
        parts += part_sections(key)
    parts += ["## What was run", to_markdown(settings()), NOTES]
    return "\n\n".join(parts) + "\n"


TEXT = """## In short

- **Backgrounds mislead, the more the better they go with the class.** Digits on textures, MSRC and ETH-80 objects on
  scenes lose accuracy as soon as the background says nothing, and known objects on other backgrounds are hard to tell
  from unknown ones on known backgrounds. A test whose known objects stand where they stood in training may hide that:
  on digits and MSRC objects the AUROC hardly moves there.
- **What is taken for the object decides.** A network that leans on the background has maps that point at the
  background. With such maps patches make the gap larger on digits and MSRC objects and leave it on ETH-80, and swaps
  help little. The same swaps with true masks, or, on digits and ETH-80, with saliency, close most of the gap.
- **A gain in AUROC need not come from backgrounds.** Butterflies are told apart by their wings at any prior; there is
  hardly a gap to close, and yet patches and swaps by the bank gain several points of AUROC on scenes, while swaps with
  true masks gain none. On ETH-80 at the strong prior patches gain as much, and the gap stays. What the bank takes for
  the background holds parts of the object, and hiding these is a regulariser.
- **Outliers are a match for BackMix, and which are best differs.** A set of other objects on the same backgrounds on the
  digits; backgrounds cut by the bank on butterflies and MSRC objects; on ETH-80 pictures without an object, which are
  what the argument for BackMix speaks of. On digits and butterflies these bring nothing, or cost.
- **The three predictions hold for swaps with true masks** on all sets of objects on scenes or textures, and on MSRC
  photographs. For patches most of them fail on digits and MSRC objects, where the gap grows too.
"""
NOTES = (
    "Objects on scenes: each object is cut out by its mask, brought to 50 to 80 % of the side and laid on a square of a "
    "scene (Intel scenes: buildings, forest, glacier, mountain, sea, street); class number c goes with scene number c, "
    "counted round where there are more classes than scenes. Other backgrounds are textures (DTD). Objects and scenes of "
    "training, held-out and test pictures are apart. The networks are small and trained from random weights for about "
    "half a minute; larger ones may differ."
)


AUDITED = ("plain", "swap, true masks", "swap, true masks, every image")
PAIRS = ("Kk-Qk", "Kk-Qq", "Kq-Qk", "Kq-Qq")


def audit_figures() -> str:
    """Return the section of docs/audit.md on networks that were trained in known ways, and on estimated masks."""
    found = next(each for study, each in there() if study.name == "digits")
    results = Results(found)
    seeds = len(results.seeds("plain", results.strong))
    sets = ("original", "only-background", "mixed-same", "mixed-random")
    rows = [
        [
            name,
            *(share(results.values(name, results.strong, audited(each))) for each in sets),
            gap_told(results, name, "audit"),
            gap_told(results, name, "audit_estimated"),
        ]
        for name in AUDITED
    ]
    networks = Table(
        f"Embedded digits, networks trained at the prior {prior_text(results.strong)}, {seeds} seeds, percent",
        ["training", *sets, "background gap, true masks", "background gap, saliency masks"],
        rows,
        "Mean ± standard deviation of the seeds; behind a gap the widest of the seeds' 95 % intervals. `swap` replaces the "
        "background of every second image, or of every image: a network that still sees half of its images on their own "
        "background goes on learning it. That one which never saw a whole picture is less accurate on originals is part "
        "of the price.",
    )
    unknown = Table(
        "The same networks and unknown digits, by max logit, AUROC in percent",
        ["training", *PAIRS, "misleading index"],
        [
            [
                name,
                *(share(results.values(name, results.strong, auroc(pair))) for pair in PAIRS),
                share(results.values(name, results.strong, misleading)),
            ]
            for name in AUDITED
        ],
    )
    trusted = []
    for study, each in there():
        results = Results(each)
        names = results.there(trainings_of("d"), results.strong)
        errors = [error for name in names for error in mask_errors(results, name)]
        if not errors:
            continue
        true = [value for name in names for value in results.values(name, results.strong, gap())]
        found_masks = [
            cell["audit_estimated"]["masks_at_fault"]
            for name in names
            for cell in results.seeds(name, results.strong).values()
        ]
        trusted.append(
            [
                study.title,
                str(len(errors)),
                f"{round(100 * min(true))} to {round(100 * max(true))}".replace("-", "−"),
                share(errors, sign=True),
                f"{100 * max(abs(error) for error in errors):.1f}",
                "{} of {}".format(*kept_order(results, names)),
                str(max(found_masks)),
            ]
        )
    trust = Table(
        "Background gap from saliency masks minus that from true ones, points",
        [
            "images",
            "audits",
            "gaps, true masks",
            "difference",
            "largest",
            "pairs of trainings in the same order, of those told apart",
            "no object found",
        ],
        trusted,
    )
    return "\n\n".join(
        [
            "From the result files of [the study](study.md), which has more of them:",
            to_markdown(networks),
            to_markdown(unknown),
            "### How far estimated masks can be trusted",
            "Every network of part (d) of the study was audited twice, with the true masks and with saliency masks.",
            to_markdown(trust),
        ]
    )


def memory_figures() -> str:
    """Return the section of docs/audit.md on audits of many images."""
    path = ROOT / "results" / "audit-memory.json"
    audits = json.loads(path.read_text(encoding="utf-8"))["audits"]
    rows = [
        [
            f"{each['images']:,}",
            str(each["kills"]),
            f"{each['rows']:,}",
            str(each["peak_mb"]),
            f"{each['cpu_seconds'] / each['images']:.3f}",
        ]
        for each in audits
    ]
    table = Table(
        "224 pixels, a network of one layer (`python benchmarks/audit_memory.py DATA`)",
        [
            "images",
            "times killed and gone on",
            "rows of images.csv",
            "most memory in use, MB",
            "processor seconds an image",
        ],
        rows,
    )
    return to_markdown(table)


def write_charts(folder: Path) -> None:
    """Write the charts of the studies in `PICTURED`, and a picture of the images of the embedded study."""
    digits = DigitsSetting()
    pictures = {"digits": samples(digits.sources(max(digits.priors), 0), digits.known)}
    for study, found in there():
        if study.name in PICTURED:
            pictures |= {f"{study.name}-{key}": png for key, png in make_charts(Results(found)).items()}
    for name, png in pictures.items():
        # A picture of 256 colours takes a third of the bytes.
        picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture.save(folder / f"study-{name}.png", optimize=True)
