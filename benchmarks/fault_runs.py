"""Alter runs in ways that a seeded mutator draws, load them, and see whether anything is silently wrong.

An alteration is either damage, which the fingerprints have to notice, or the work of a person who signs the altered
files again. Such a run may answer otherwise, but it has to be valid: classes that it has, shares between 0 and 1, a
decision that follows from a threshold.
"""

from __future__ import annotations

import hashlib
import json
import math
import resource
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from signed_run import sign

from backmix.classifier import OpenSetClassifier
from backmix.errors import BackmixError
from backmix.report.run_facts import read_facts
from backmix.runs.folder import CHECKED, TRAINING
from backmix.runs.held_out import read_shares

SECONDS = 10
"""The most seconds that one run may take to be refused or to answer."""
SIGNED = (*CHECKED, TRAINING)
TEXTS = ("classes.json", "calibration.json", "held-out.json", "metrics.json", "seen.json", "images.json", "fit.yaml")

Files = dict[str, bytes]


@dataclass(frozen=True)
class Altered:
    """A run after an alteration: its files, whether somebody signed them again, and what was done, in words."""

    files: Files
    signed: bool
    what: str


def altered_runs(run: Path, number: int, seed_: int) -> dict[str, Any]:
    """Alter a run again and again, and count what came of it.

    Args:
        run: A run that is whole.
        number: The number of alterations.
        seed_: The seed of the mutator.
    """
    whole = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.suffix != ".pt"}
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    counts: Counter[str] = Counter()
    lost: list[str] = []
    seen: set[str] = set()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as place:
        usual = _answers(_write(Path(place) / "whole", Altered(whole, False, "")), images)

        @seed(seed_)
        @settings(
            max_examples=20 * number,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(_alterations(whole))
        def one(altered: Altered) -> None:
            nonlocal slowest
            key = hashlib.sha256(repr(sorted(altered.files.items())).encode()).hexdigest()
            if len(seen) >= number or key in seen or altered.files == whole:
                return
            seen.add(key)
            folder = _write(Path(place) / f"{len(seen)}", altered)
            start = time.monotonic()
            came = _try(folder, images, usual, altered.signed)
            slowest = max(slowest, time.monotonic() - start)
            counts[came if ":" not in came else "lost"] += 1
            if ":" in came:
                lost.append(f"{altered.what}: {came}")
                print(f"  {lost[-1]}", flush=True)

        one()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"runs": len(seen), **dict(sorted(counts.items())), "slowest": round(slowest, 2), "MiB": peak, "lost": lost}


def _write(folder: Path, altered: Altered) -> Path:
    folder.mkdir()
    for name, content in altered.files.items():
        (folder / name).write_bytes(content)
    if altered.signed:
        try:
            config = yaml.safe_load(altered.files.get("config.yaml", b""))
            if isinstance(config, dict):
                sign(folder, config, SIGNED)
        except (yaml.YAMLError, UnicodeDecodeError):
            pass  # Nobody can sign what is no YAML.
    return folder


def _answers(folder: Path, images: np.ndarray) -> tuple[OpenSetClassifier, list[Any]]:
    classifier = OpenSetClassifier.load(folder)
    return classifier, classifier.predict(images)


def _try(folder: Path, images: np.ndarray, usual: tuple[OpenSetClassifier, list[Any]], signed: bool) -> str:
    """Return what came: a word for what is right, or words with a colon for what is lost."""
    try:
        with _at_most(SECONDS):
            classifier, found = _answers(folder, images)
            facts = read_facts(folder)
            _ = facts.history, facts.head, facts.unreadable, facts.training
            with suppress(BackmixError):  # A command that needs them says so.
                read_shares(folder)
    except BackmixError as error:
        return "refused" if len(str(error)) < 2000 else f"refused with a long text: {str(error)[:100]}"
    except ValueError as error:  # This is what `predict` says of a network that computes no numbers.
        return "refused" if "unknown scores are NaN" in str(error) else f"an error of another kind: {str(error)[:200]}"
    except TimeoutError:
        return f"slow: more than {SECONDS} s"
    except Exception as error:
        return f"an error of another kind: {type(error).__name__}: {str(error)[:200]}"
    if invalid := next(_invalid(classifier, found), None):
        return f"invalid: {invalid}"
    if found == usual[1] and classifier.classes == usual[0].classes:
        return "answered as before"
    return "answered as its signer wants" if signed else "silently wrong: it answers otherwise"


def _invalid(classifier: OpenSetClassifier, answers: list[Any]) -> Iterator[str]:
    """Yield what no run may answer, whoever made it."""
    if classifier.detector not in classifier.thresholds:
        yield "nothing decides"
    for answer in answers:
        if answer.label not in (*classifier.classes, "unknown"):
            yield f"the class {answer.label}"
        if answer.unknown_score is None or math.isnan(answer.unknown_score):
            yield "a score that is no number"
        if answer.p_value is None or not 0 <= answer.p_value <= 1:
            yield f"the p-value {answer.p_value}"
        shares = [share for _, share in answer.top]
        if not all(0 <= share <= 1 for share in shares) or sum(shares) > 1.001:
            yield f"the shares {shares}"


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError after so many seconds."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, -1, 2, 7, 1e9, 10**12, math.inf, -math.inf, math.nan, 0.5, 1e-300, "", "cat", "max_logit"]),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.one_of(st.integers(-3, 3), st.text(max_size=3)), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(-3, 3), max_size=3),
)


@st.composite
def _alterations(draw: st.DrawFn, whole: Files) -> Altered:
    kind = draw(st.sampled_from([_damage, _damage_texts, _change_settings, _change_calibration, _change_tensors]))
    return kind(draw, dict(whole))


def _damage(draw: st.DrawFn, files: Files) -> Altered:
    """Change bytes of a file; sometimes the file is signed again."""
    name = draw(st.sampled_from(sorted(files)))
    content = files[name]
    at = draw(st.integers(0, max(0, len(content) - 1)))
    what = draw(st.sampled_from(["flip", "cut", "double", "zeros", "swap", "remove", "empty", "insert"]))
    match what:
        case "flip":
            bits = draw(st.integers(1, 255))
            content = content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :]
        case "cut":
            content = content[:at]
        case "double":
            content = content + content[at:]
        case "zeros":
            content = content[:at] + bytes(min(64, len(content) - at)) + content[at + 64 :]
        case "swap":
            other = draw(st.sampled_from(sorted(files)))
            content, files[other] = files[other], content
        case "empty":
            content = b""
        case "insert":
            content = content[:at] + draw(st.binary(min_size=1, max_size=40)) + content[at:]
    files[name] = content
    if what == "remove":
        del files[name]
    signed = name != "config.yaml" and draw(st.booleans())
    return Altered(files, signed, f"{what} {name} at {at}{', signed' if signed else ''}")


def _damage_texts(draw: st.DrawFn, files: Files) -> Altered:
    """Change a value in one of the texts that hold figures or names."""
    name = draw(st.sampled_from([name for name in TEXTS if name in files and name.endswith(".json")]))
    signed = draw(st.booleans())
    return _with_leaf(draw, files, name, json.loads, _as_json, signed)


def _change_settings(draw: st.DrawFn, files: Files) -> Altered:
    return _with_leaf(draw, files, "config.yaml", yaml.safe_load, _as_yaml, draw(st.booleans()))


def _change_calibration(draw: st.DrawFn, files: Files) -> Altered:
    """Change the calibration, and sign it as `calibrate` does."""

    def signed(content: Any) -> bytes:
        if isinstance(content, dict):
            content = {key: value for key, value in content.items() if key != "sha256"}
            own = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
            content = {**content, "sha256": own}
        return _as_json(content)

    return _with_leaf(draw, files, "calibration.json", json.loads, signed, True)


def _change_tensors(draw: st.DrawFn, files: Files) -> Altered:
    name = draw(st.sampled_from([name for name in ("model.safetensors", TRAINING) if name in files]))
    tensors = load(files[name])
    key = draw(st.sampled_from(sorted(tensors)))
    value = tensors[key]
    kinds = ["nan", "inf", "huge", "zero", "remove", "rename", "shape", "half", "int8", "bool", "complex64", "int64"]
    what = draw(st.sampled_from(kinds))
    fill = {"nan": math.nan, "inf": math.inf, "huge": 1e38, "zero": 0.0}
    if what in fill and value.is_floating_point() and value.numel():
        changed = value.clone().flatten()
        changed[draw(st.integers(0, value.numel() - 1))] = fill[what]
        tensors[key] = changed.reshape(value.shape)
    elif what == "remove":
        del tensors[key]
    elif what == "rename":
        tensors[key + "x"] = tensors.pop(key)
    elif what == "shape":
        tensors[key] = value.reshape(-1).repeat(2)
    else:
        tensors[key] = value.to(getattr(torch, what, torch.float64))
    files[name] = save(tensors)
    return Altered(files, draw(st.booleans()), f"{what} in {key} of {name}")


def _with_leaf(
    draw: st.DrawFn,
    files: Files,
    name: str,
    read: Callable[[bytes], Any],
    write: Callable[[Any], bytes],
    signed: bool,
) -> Altered:
    """Replace, remove or add one value of a file of settings or figures."""
    content = read(files[name])
    path = draw(st.sampled_from(list(_paths(content))))
    value = draw(st.one_of(_VALUES, st.just(_REMOVE)))
    target = content
    for part in path[:-1]:
        target = target[part]
    if value is _REMOVE:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    files[name] = write(content)
    said = "removed" if value is _REMOVE else repr(value)[:40]
    return Altered(files, signed, f"{name} {'.'.join(map(str, path))} = {said}{', signed' if signed else ''}")


_REMOVE = object()


def _paths(content: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the values of nested dictionaries and lists stand; of a long list the first and the last."""
    found: list[Any] = list(content) if isinstance(content, dict) else []
    if isinstance(content, list) and content:
        found = sorted({0, len(content) - 1})
    for key in found:
        yield (*above, key)
        yield from _paths(content[key], (*above, key))


def _as_json(content: Any) -> bytes:
    return json.dumps(content, indent=2).encode()


def _as_yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, sort_keys=False).encode()
