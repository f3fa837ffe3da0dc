"""Run an audit: show the model the pictures in chunks, in bounded memory, and continue an interrupted audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backmix.audit.counterfactuals import SETS, make_set
from backmix.audit.donors import draw_donors, draw_from
from backmix.audit.items import Items, Role
from backmix.audit.journal import RECORD, Journal, Records, fingerprint
from backmix.audit.models.base import AuditedModel, check_answers
from backmix.audit.outcomes import Column, read_outcomes
from backmix.audit.pictures import Pictures, States
from backmix.data.seeds import seed_of
from backmix.files import make_folder
from backmix.mixing.default_dtype import in_float32

ON_KNOWN, ON_UNKNOWN = "on-known", "on-unknown"
ALL_SETS = (*SETS, ON_KNOWN, ON_UNKNOWN)
"""All sets. on-known shows an unknown object on the background of an image of a known class. on-unknown shows an object
on the background of another image of an unknown class."""


@dataclass(frozen=True)
class Audit:
    """The result of an audit run.

    Attributes:
        columns: The answers of the model, for each set of `ALL_SETS`.
        donors: For each set (N,) int64, the item whose background each item shows; -1 for none.
        states: The state of each image after reading.
    """

    columns: dict[str, Column]
    donors: dict[str, Tensor]
    states: States


class AuditRun:
    """An audit in a folder. Call `read`, then `answer`. Close it, or use it in a `with`.

    Args:
        model: The model to audit.
        items: The images.
        to_data: (K,) int64, the class of the data that each output of the model stands for; -1 for none.
        folder: The folder of the journal and the pictures, made if it does not exist; see `remove_pictures`.
        settings: The settings that decide the answers, as JSON values. An audit with other settings is not continued.
        seed: The seed of the donors.
        batch_size: The number of images that the model is shown at once.
        workers: The number of threads that decode images.
        resume: Whether to continue the audit in the folder.

    Raises:
        DataError: If the folder holds an audit and `resume` is false, or if the settings of that audit differ.
    """

    def __init__(
        self,
        model: AuditedModel,
        items: Items,
        to_data: Tensor,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        seed: int = 0,
        batch_size: int = 64,
        workers: int = 2,
        resume: bool = False,
    ) -> None:
        make_folder(folder)
        self._model, self._items, self._to_data = model, items, to_data
        self._seed, self._batch_size, self._workers = seed, batch_size, workers
        self._fingerprint = fingerprint(settings)
        self._states: States | None = None
        self._journal = Journal(folder, settings, resume=resume)
        self._pictures = Pictures(folder, model.frame, len(items))

    def __enter__(self) -> AuditRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the files. Their contents are kept."""
        self._journal.close()
        self._pictures.close()

    @in_float32
    def read(self, on_images: Callable[[int], object] | None = None) -> States:
        """Decode all images, find their objects and remove them.

        Args:
            on_images: A function that is called with the number of images read so far.

        Raises:
            DataError: If the disk has no room.
        """
        self._states = self._pictures.prepare(
            self._items, self._fingerprint, workers=self._workers, on_images=on_images
        )
        return self._states

    @in_float32
    def answer(self, on_images: Callable[[int], object] | None = None) -> Audit:
        """Show the model every image in every set. Chunks in the journal are not shown again.

        Args:
            on_images: A function that is called with the number of images done so far.

        Raises:
            DataError: If the answers of the model are unusable, see `check_answers`.
        """
        states = self._states or self.read()
        donors = draw_all(self._items, states, self._seed)
        for number, rows in enumerate(torch.arange(len(self._items)).split(self._batch_size)):
            if number >= len(self._journal.chunks):
                self._journal.add(self._records(states, donors, rows))
            if on_images is not None:
                on_images(int(rows[-1]) + 1)
        columns = read_outcomes(self._journal.chunks, ALL_SETS, self._to_data, len(self._items))
        return Audit(columns, donors, states)

    @in_float32
    def show(self, item: int, audit: Audit) -> dict[str, Tensor]:
        """Return one image in every set that it is in, as the model saw it: (3, S, S) uint8 by the name of the set.

        Args:
            item: The image.
            audit: The result of `answer`.
        """
        pictures, found = self._pictures, {}
        image, mask, own = pictures.images([item]), pictures.masks([item]), pictures.backgrounds([item])
        for name, column in audit.columns.items():
            if column.present[item]:
                others = pictures.backgrounds([int(audit.donors[name][item])]) if name in audit.donors else None
                found[name] = make_set(name, image, mask, own, others)[0]
        return found

    def _records(self, states: States, donors: dict[str, Tensor], rows: Tensor) -> Records:
        """Return the records of a chunk of items, set by set."""
        pictures, which = self._pictures, rows.tolist()
        known = self._items.parts[rows] == Role.known
        apart = states.usable()[rows] & known
        truth = torch.where(known, self._items.labels[rows], -1)
        images, masks, own = pictures.images(which), pictures.masks(which), pictures.backgrounds(which)
        records = [np.empty(0, dtype=RECORD)]
        for number, name in enumerate(ALL_SETS):
            drawn = donors.get(name)
            there = states.readable()[rows] if name == "original" else apart if drawn is None else drawn[rows] >= 0
            at = there.nonzero()[:, 0]
            if len(at):
                others = None if drawn is None else pictures.backgrounds(drawn[rows[at]].tolist())
                shown = make_set(name, images[at], masks[at], own[at], others)
                records.append(_records(self._model, shown, rows[at], number, truth[at], self._to_data))
        return np.concatenate(records)


def draw_all(items: Items, states: States, seed: int) -> dict[str, Tensor]:
    """Draw the donors of all items for each mixed set, (N,) int64, -1 for none.

    They depend only on the seed and the usable images.
    """
    usable = states.usable()
    known, unknown = usable & (items.parts == Role.known), usable & (items.parts == Role.unknown)

    def generator(purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(seed, "audit", purpose))

    donors = draw_donors(items.labels, known, generator("mixed"))
    # An object without another image of its class has no mixed-same, so it is left out of the sets compared with it.
    alone = donors["mixed-same"] < 0
    donors = {name: torch.where(alone, -1, of) for name, of in donors.items()}
    donors[ON_KNOWN] = draw_from(unknown, items.labels, known, generator(ON_KNOWN))
    donors[ON_UNKNOWN] = draw_from(known | unknown, items.labels, unknown, generator(ON_UNKNOWN))
    return donors


def _records(model: AuditedModel, images: Tensor, rows: Tensor, number: int, truth: Tensor, to_data: Tensor) -> Records:
    logits, score = check_answers(model.answers(images), images)
    log_shares = logits.log_softmax(1)
    shares = log_shares.exp()
    entropy = -torch.where(shares > 0, shares * log_shares, 0.0).sum(1) / np.log(logits.shape[1])
    of_truth = (shares * (to_data == truth[:, None])).sum(1)
    records = np.empty(len(rows), dtype=RECORD)
    records["item"], records["set"] = rows.numpy(), number
    records["answer"] = logits.argmax(1).numpy()
    records["truth"] = torch.where(truth >= 0, of_truth, torch.nan).numpy()
    records["entropy"] = entropy.clamp(0, 1).numpy()
    # A model without an unknown score gets the usual one: the negative largest logit.
    records["score"] = (-logits.max(1).values if score is None else score).numpy()
    return records
