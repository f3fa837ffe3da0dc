"""The model card of a shared run: its answers, its figures, the promise of its threshold and its limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from backmix.hub.card_figures import eval_results, figures_section, threshold_section
from backmix.hub.card_words import number, plain, value_in_words
from backmix.metrics.usefulness import Verdict
from backmix.runs.advice import advice

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from backmix.classifier import OpenSetClassifier

MOST_CLASSES = 200  # The largest number of classes named in the card. classes.json has all classes.
LEFT_OUT = "left out when this run was shared"  # It replaces text in config.yaml that may be a path or a note.
PACKAGES = ("torch", "torchvision", "timm", "safetensors")

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")


def model_card(
    classifier: OpenSetClassifier,
    config: Mapping[str, Any],
    name: str,
    *,
    metrics: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    chosen: Mapping[str, Any] | None = None,
    license: str | None = None,
    files: Sequence[str] = (),
) -> str:
    """Write the model card as Markdown with a YAML head, as the hub expects it.

    Args:
        classifier: The classifier that is shared.
        config: The cleaned content of config.yaml. All of it may stand in the card.
        name: The name of the repository, "owner/name".
        metrics: The content of the run's metrics.json.
        evaluation: The figures of `OpenSetClassifier.evaluate` on a test set. None: The figures of the run's own test
            in `metrics`.
        chosen: How example unknowns chose the detector, see `backmix.inference.choose_detector.choose_detector`.
        license: The identifier of the licence on the hub, such as apache-2.0.
        files: The names of the files that are shared.

    Raises:
        ValueError: If the licence is not an identifier.
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise ValueError(f"a licence is named as the hub does, as in apache-2.0 or cc-by-4.0; got {license!r}")
    metrics = metrics or {}
    data = _mapping(config.get("arguments")).get("data")
    results = eval_results(classifier.detector, None if data == LEFT_OUT else data, metrics, evaluation)
    sections = [
        _head(license, name, results),
        f"# {plain(name.rpartition('/')[2])}",
        *_advice(metrics if evaluation is None else evaluation),
        _answer(classifier),
        _use(name),
        _classes(classifier.classes),
        figures_section(classifier, config, metrics, evaluation),
        threshold_section(classifier, chosen, metrics),
        _limits(config),
        _training(config, metrics),
        _files(files),
        _versions(config),
        _license(license, config),
    ]
    return "\n\n".join(sections) + "\n"


def _head(license: str | None, name: str, results: list[EvalResult]) -> str:
    from huggingface_hub import ModelCardData  # It is slow to import, and only this function needs it.

    head = ModelCardData(
        license=license,
        library_name="backmix",
        pipeline_tag="image-classification",
        tags=["backmix", "image-classification", "open-set-recognition", "out-of-distribution-detection"],
        metrics=["accuracy", "roc_auc"],
        model_name=name.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )
    order = ["license", "library_name", "pipeline_tag", "tags", "metrics"]
    return f"---\n{head.to_yaml(original_order=order)}\n---"


def _answer(classifier: OpenSetClassifier) -> str:
    size = classifier.preprocess.image_size
    known = f"the name of one of {len(classifier.classes)} classes"
    if classifier.detector not in classifier.thresholds:
        return (
            f"For a picture it answers {known}. It has no threshold yet, so it never answers “unknown”: calibrate it "
            "on known images first."
        )
    return (
        f"For a picture it answers {known}, or “unknown”, with an unknown score and a p-value. It looks at the central "
        f"square of the picture, at {size} × {size} pixels. It was made with backmix."
    )


def _advice(figures: Mapping[str, Any]) -> list[str]:
    """Return a section that says first that the classifier should not be used; none if it may be."""
    return [f"> **{plain(line, 1000)}**" for line in advice(Verdict.from_dict(figures.get("verdict")))]


def _use(name: str) -> str:
    # Ids on the hub contain only letters, digits, dots, underscores and hyphens, so the name needs no escaping.
    return (
        "## How to use it\n\n```sh\npip install backmix\n```\n\n```python\n"
        "from backmix import OpenSetClassifier\n\n"
        f'classifier = OpenSetClassifier.load("hub:{name}")\n'
        'print(classifier.predict(["photo.jpg"])[0].label)\n```\n\n'
        'Give `revision="..."` with a commit you have looked at: files that others can change may change.'
    )


def _classes(classes: Sequence[str]) -> str:
    shown = ", ".join(plain(each) for each in classes[:MOST_CLASSES])
    more = len(classes) - MOST_CLASSES
    rest = f", and {more} more, all of them in `classes.json`" if more > 0 else ""
    return f"## Classes\n\n{len(classes)} known classes: {shown}{rest}."


def _limits(config: Mapping[str, Any]) -> str:
    arguments = _mapping(config.get("arguments"))
    augmentation = str(arguments.get("augmentation", ""))
    if set(augmentation.split("+")) & {"backmix", "swap"}:
        background = (
            "It was trained with mixed backgrounds, so that it leans less on what stands behind the object. That makes "
            "shortcuts rarer and does not exclude them."
        )
    else:
        background = (
            "Nothing was done in training against recognising a class by the background it is usually photographed on."
        )
    return "\n".join(
        [
            "## Intended use and limits",
            "",
            "It is meant for pictures like those it was trained on, one object in each, where an answer of “unknown” "
            "is looked at by a person or leads to something harmless.",
            "",
            "- The promise is about known images from the same source. With another camera, other light, another place "
            "or season it does not hold, and more known images may be called unknown.",
            "- Nothing is promised about unknown images. Some will be accepted and given the name of a class, above "
            "all those that look like one.",
            "- The promise is about all known images together, not about each class, unless it says so above, and not "
            "about a single picture.",
            f"- {background}",
            "- It answers something for a picture with several objects, or with none, or without a photograph in it.",
            "- Do not let it decide about people, or where a wrong answer does harm, without tests of your own.",
        ]
    )


def _training(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    arguments, training = _mapping(config.get("arguments")), _mapping(config.get("training"))
    chosen = _mapping(config.get("chosen"))
    images = _mapping(metrics.get("images"))
    pretrained = chosen.get("pretrained", arguments.get("pretrained"))
    seconds, frozen = number(metrics.get("seconds")), bool(config.get("frozen"))
    rows = [
        ("data", arguments.get("data")),
        ("images to train on", images.get("train")),
        ("images to calibrate on", images.get("held_out")),
        ("network", config.get("model")),
        ("initial weights", None if pretrained is None else _published(chosen) if pretrained else "random"),
        ("trained", "the head alone, on features of the published weights" if frozen else None),
        ("image size", f"{config.get('image_size')} px"),
        ("version of decoding", config.get("decoding")),
        ("method", config.get("method")),
        ("options of the method", config.get("method_options") or None),
        ("augmentation", arguments.get("augmentation")),
        ("options of the augmentation", arguments.get("augmentation_options") or None),
        ("outliers", arguments.get("outliers")),
        ("epochs", training.get("epochs")),
        ("batch size", training.get("batch_size")),
        ("optimiser", training.get("optimizer")),
        ("learning rate", training.get("lr")),
        ("schedule", training.get("schedule")),
        ("weight decay", training.get("weight_decay")),
        ("precision", config.get("precision")),
        ("seed", training.get("seed", arguments.get("seed"))),
        ("seconds of training", None if seconds is None else round(seconds)),
    ]
    table = [f"| {name} | {value_in_words(value)} |" for name, value in rows if value is not None]
    return "\n".join(
        [
            "## How it was trained",
            "",
            "*Say here where the pictures come from, who took them, and what they do not show.*",
            "",
            "| setting | value |",
            "| --- | --- |",
            *table,
            "",
            "All options are in `config.yaml`; paths and names of files of the machine it was trained on are left out.",
        ]
    )


def _files(files: Sequence[str]) -> str:
    text = "The weights are in the safetensors format, and nothing in this repository is executed when it is loaded."
    if "training.safetensors" in files:
        text += (
            " `training.safetensors` holds features, logits and labels of training images, which some unknown scores "
            "are fitted on; the pictures themselves are not here."
        )
    else:
        text += (
            " No picture is here, nor anything computed from a single one but the unknown scores of held-out images."
        )
    return f"## Files\n\n{text}"


def _versions(config: Mapping[str, Any]) -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {value_in_words(version(package))}")
        except PackageNotFoundError:
            continue
    return (
        f"## Versions\n\nTrained with backmix {value_in_words(config.get('backmix'))}, run format "
        f"{value_in_words(config.get('format'))}. Shared with {', '.join(found)}."
    )


def _license(license: str | None, config: Mapping[str, Any]) -> str:
    pretrained = _mapping(config.get("chosen")).get("pretrained", _mapping(config.get("arguments")).get("pretrained"))
    if license is None:
        text = (
            "**Not stated yet.** Whoever shared this should write `license: ...` into the head of this file; without "
            "one nobody else has leave to use it."
        )
    else:
        text = f"The weights in this repository: {plain(license)}."
    if pretrained:
        began = "Those below the head are" if config.get("frozen") else "They began as"
        text += f" {began} the published weights of {plain(config.get('model'))}, which have terms of their own."
    return f"## Licence\n\n{text}"


def _published(chosen: Mapping[str, Any]) -> str:
    source = chosen.get("weights")
    known = isinstance(source, str) and source != LEFT_OUT
    return f"published ones, from {source}" if known else "published ones of timm"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
