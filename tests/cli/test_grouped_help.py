"""The help of a command: at most ten options first, the rest in groups, every name whole at 80 columns."""

import re

import pytest
import typer.main
from typer.testing import CliRunner

from backmix.cli import COMMANDS, make_app
from backmix.cli.grouped_help import FIRST, GROUPS, REST

NAMES = [command.__name__ for command in COMMANDS]
MANY = 10  # A command with more options than this has groups.


def command(name):
    return typer.main.get_command(make_app(name)).commands[name]


def shown(name, columns="80"):
    done = CliRunner(env={"COLUMNS": columns}).invoke(make_app(name), [name, "--help"])
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("name", NAMES)
def test_every_option_stands_once_with_its_name_whole(name):
    said = shown(name)
    for param in command(name).params:
        if param.param_type_name == "option":
            for option in param.opts:
                assert len(re.findall(rf"^  (?:--[\w-]+ / )?{option}(?= |$)", said, re.MULTILINE)) == 1, option
    assert max(map(len, said.splitlines())) <= 80 and "…" not in said
    assert "\\[" not in said  # What some versions of typer escape is unescaped.


@pytest.mark.parametrize("name", NAMES)
def test_commands_with_many_options_have_groups_and_ten_first(name):
    options = {param.name for param in command(name).params if param.param_type_name == "option"}
    groups = GROUPS.get(name, {})
    grouped = [option for names in groups.values() for option in names]
    assert len(grouped) == len(set(grouped)) and set(grouped) == (options if groups else set())
    assert bool(groups) or len(options) <= MANY
    if groups:
        assert next(iter(groups)) == FIRST and len(groups[FIRST]) <= 10
        said = shown(name)
        assert [said.index(f"{title}:") for title in groups] == sorted(said.index(f"{title}:") for title in groups)
        assert said.rindex(f"{REST}:") > said.index(f"{FIRST}:")


def test_names_with_hyphens_are_not_broken():
    said = shown("fit")
    assert "hide-and-seek" in said and "outlier-exposure" in said and "wrn-40-4" in said


def test_a_narrow_terminal_shows_names_whole():
    assert "--augmentation-option KEY=VALUE" in shown("fit", "50")
