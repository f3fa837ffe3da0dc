"""Write images.csv: the answers of a model for every image in every set."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from backmix.audit.gather import Gathered
from backmix.audit.items import Role
from backmix.audit.outcomes import background_scores
from backmix.audit.results import answer_name
from backmix.audit.run import ALL_SETS, Audit
from backmix.files import write_atomically
from backmix.prediction.rows import harmless


def write_rows(path: Path, audit: Audit, gathered: Gathered) -> None:
    """Write one row for each image, as CSV by RFC 4180 in UTF-8. No cell is a formula.

    The columns are image, part (known, unknown, scene), class, fault, mask_share and background_score. Each set that
    has images adds the answer, the probability of the true class and the unknown score; a set with donors also adds
    the image whose background is shown.
    """
    write_atomically(path, lambda temporary: _write(temporary, audit, gathered))


def _write(path: Path, audit: Audit, gathered: Gathered) -> None:
    items = gathered.items
    classes = items.classes(Role.known)
    sets = [name for name in ALL_SETS if audit.columns[name].present.any()]
    scores = background_scores(audit.columns).tolist()
    shares = audit.states.shares.tolist()
    names = [items.name(item) for item in range(len(items))]  # Once, as a name can take as long as an image.
    with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        head = ["image", "part", "class", "fault", "mask_share", "background_score"]
        for name in sets:
            head += [name, f"{name}:probability", f"{name}:unknown_score"]
            head += [f"{name}:background"] if name in audit.donors else []
        csv.writer(file).writerow(head)
        for item in range(len(items)):
            fault = str(audit.states.faults.get(item, ""))
            part = Role(int(items.parts[item])).name
            row = [names[item], part, items.class_of(item), fault, _number(shares[item]), _number(scores[item])]
            for name in sets:
                column, drawn = audit.columns[name], audit.donors.get(name)
                if column.present[item]:
                    answer = answer_name(int(column.output[item]), int(column.answer[item]), classes, gathered.names)
                    row += [answer, _number(float(column.truth[item])), _number(float(column.score[item]))]
                    row += [] if drawn is None else [names[int(drawn[item])]]
                else:
                    row += [""] * (3 if drawn is None else 4)
            file.write(_line(row))


def _line(row: list[str]) -> str:
    text = io.StringIO(newline="")
    # A negative number is no formula.
    csv.writer(text).writerow([cell if _is_number(cell) else harmless(cell) for cell in row])
    return text.getvalue()


def _number(value: float) -> str:
    return "" if value != value else f"{value:.6g}"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
