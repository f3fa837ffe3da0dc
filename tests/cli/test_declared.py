"""Options that follow from a dataclass: every field can be typed, and what is typed is what the command gets."""

import re
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
import typer
from typer.testing import CliRunner

from backmix.augmentations import AUGMENTATIONS, BACKMIXES
from backmix.cli.declared import with_options
from backmix.cli.options import Config
from backmix.fit.arguments import FitArguments
from backmix.methods import METHODS


@dataclass(frozen=True)
class Asked:
    data: str
    names: Annotated[str | list[str] | None, "Names of things."] = None
    wide: Annotated[bool, "Whether it is wide."] = True
    side: Annotated[int | None, "Its side.", "PIXELS"] = None
    how: Annotated[Literal["fast", "slow"], "How it is done."] = "fast"
    maybe: Annotated[str | None, typer.Option("--how-much", help="How much of it.")] = None
    colour: Annotated[tuple[float, float, float] | None, "Its colour."] = None
    more_options: Annotated[dict[str, Any], "Something more."] = field(default_factory=dict)


got: list[tuple[Asked, Path]] = []


def ask(out: Annotated[Path, typer.Option(help="Where to.")], arguments: Asked, config: Config = None) -> None:
    """Ask for something."""
    got.append((arguments, out))


@pytest.fixture
def typed():
    app = typer.Typer()
    app.command()(with_options(ask))

    def run(*words):
        got.clear()
        done = CliRunner().invoke(app, list(map(str, words)))
        return (got[0] if got else None), done

    return run


def test_what_is_not_typed_is_the_default(typed):
    assert typed("photos", "--out", "x")[0] == (Asked("photos"), Path("x"))


def test_every_kind_of_field_can_be_typed(typed):
    found, _ = typed(
        *("photos", "--out", "x", "--names", "a,b", "--names", "d", "--no-wide", "--side", 3, "--how", "slow"),
        *("--more-option", "depth=2", "--more-option", "flat=true", "--how-much", "little", "--colour", "0,0.5,1"),
    )
    more = {"depth": 2, "flat": True}
    assert found[0] == Asked("photos", "a\\,b,d", False, 3, "slow", "little", (0.0, 0.5, 1.0), more)
    assert typed("photos", "--out", "x", "--colour", "1")[0][0].colour == (1.0, 1.0, 1.0)


def test_names_typed_in_one_text_are_as_typed(typed):
    assert typed("photos", "--out", "x", "--names", "a,b\\, c")[0][0].names == "a,b\\, c"


def test_names_in_a_file_are_a_list_that_nothing_is_split_of(typed, tmp_path):
    file = tmp_path / "asked.yaml"
    for text, names in (
        ("names: [tench, goldfish]", "tench,goldfish"),
        ("names: ['tench, Tinca tinca', 7, 'a\\b']", "tench\\, Tinca tinca,7,a\\\\b"),
        ("names: tench,goldfish", "tench,goldfish"),
        ("names: 7", "7"),
        ("names: null", None),
    ):
        file.write_text(text)
        assert typed("photos", "--out", "x", "--config", file)[0][0].names == names
    file.write_text("names: [b, c]")
    assert typed("photos", "--out", "x", "--config", file, "--names", "a")[0][0].names == "a"


@pytest.mark.parametrize(
    "words", [["--how", "never"], ["--side", "x"], ["--more-option", "x"], ["--colour", "1,2"], ["--height", "3"]]
)
def test_what_cannot_be_is_refused(typed, words):
    found, done = typed("photos", "--out", "x", *words)
    assert found is None and done.exit_code == 2


def test_help_says_what_the_fields_say(typed):
    said = " ".join(typed("--help")[1].output.replace("│", " ").split())
    for text in ("Ask for something.", "Names of things.", "NAMES", "PIXELS", "--no-wide", "KEY=VALUE", "Where to."):
        assert text in said


def test_a_command_without_a_dataclass_stays_what_it_is():
    def plain(out: Path) -> None: ...

    assert with_options(plain) is plain


def test_types_that_are_text_are_refused():
    made = make_dataclass("Made", [("side", "int", 3)])

    def late(arguments: made) -> None: ...

    with pytest.raises(TypeError, match="the type of side is text"):
        with_options(late)


def test_every_field_of_fit_has_a_help():
    for each in fields(FitArguments):
        assert each.name == "data" or "Annotated" in str(each.type), each.name


def test_the_help_of_fit_names_every_method_and_augmentation():
    help_of = {each.name: get_args(each.type)[1] for each in fields(FitArguments) if each.name != "data"}
    for option, names in (("method", METHODS), ("augmentation", [*BACKMIXES, *AUGMENTATIONS])):
        assert set(names) <= set(re.findall(r"[\w-]+", help_of[option])), option
