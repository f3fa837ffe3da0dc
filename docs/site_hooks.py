"""Hooks of mkdocs, which adapt pages that are also read in the repository to the site."""

from __future__ import annotations

import inspect
import json
import re
from enum import EnumType
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)\)")
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"<!-- commands:.*?-->")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return the text of a page as the site shows it: commands, diagrams and the study of this build are filled in."""
    markdown = DIAGRAM.sub(lambda found: draw(found[1]), markdown)
    markdown = COMMANDS.sub(lambda _: list_commands(), markdown)
    if page.file.src_uri == "study.md":
        markdown += study_of_this_build(ROOT / "build" / "study" / "study.json")
    return unlink_files(markdown, Path(page.file.abs_src_path).parent)


def draw(diagram: str) -> str:
    """Return a Mermaid diagram as an SVG picture that is part of the page, so that the page loads no script."""
    import mmdr  # Only who builds the site needs it.

    svg: str = mmdr.render(diagram, backend="mermaid-rs-renderer", theme="classic", rank_spacing=25).svg()
    return f'<figure class="diagram">{svg}</figure>'


def on_page_content(html: str, **_: Any) -> str:
    """Return the HTML of a page with source code excluded from the search, which then finds descriptions only."""
    source = '<details class="mkdocstrings-source"'
    return html.replace(source, f"{source} data-search-exclude")


def on_page_context(context: Any, *, page: Any, **_: Any) -> Any:
    """Return the context of a page; the table of contents of troubleshooting.md loses its lowest level."""
    if page.file.src_uri == "troubleshooting.md":
        for title in page.toc:
            for section in title.children:
                section.children.clear()  # A hundred messages are too many for a table of contents.
    return context


def study_of_this_build(file: Path) -> str:
    """Return the tables of the study that `make docs` has run, as Markdown; an empty text if there is no study."""
    if not file.is_file():
        return ""
    from backmix.study.part import to_markdown
    from backmix.study.summary import summarise

    study = json.loads(file.read_text(encoding="utf-8"))
    seeds = len({cell["seed"] for cell in study["cells"]})
    parts = [
        "## As this build of the pages made it",
        f"`make docs` has trained and measured {len(study['cells'])} networks on the embedded digits, {seeds} seed"
        f"{'' if seeds == 1 else 's'} each, before it built these pages: the figures above are of the repository, these "
        "of the machine that built the pages.",
    ]
    for part in summarise(study):
        parts += [f"### ({part.key}) {part.title}", *(to_markdown(table) for table in part.tables)]
    return "\n\n" + "\n\n".join(parts) + "\n"


def unlink_files(markdown: str, folder: Path) -> str:
    """Replace each link to a file outside docs/ by its text, as code, because the site does not have these files.

    Links to files that do not exist stay as they are, so that a strict build fails on them.
    """

    def without(match: re.Match[str]) -> str:
        text, target = match[1], (folder / match[2]).resolve()
        if target.is_relative_to(ROOT / "docs") or not target.exists():
            return match[0]
        return text if text.startswith("`") else f"`{text}`"

    return LINK.sub(without, markdown)


def list_commands() -> str:
    """Return a list of all commands with their arguments and options, as Markdown, from the signatures for typer."""
    from backmix.cli import app

    parts = []
    for command in app.registered_commands:
        run: Any = command.callback
        kinds = get_type_hints(run, include_extras=True)
        defaults = {name: parameter.default for name, parameter in inspect.signature(run).parameters.items()}
        arguments, options = [], []
        for name, default in defaults.items():
            kind, about = get_args(kinds[name])[:2]
            if isinstance(about, ArgumentInfo):
                arguments.append((about.metavar or name.upper(), about.help or ""))
            else:
                options.append(_option(name, kind, default, about))
        title = command.name or run.__name__.replace("_", "-")
        usage = " ".join(["backmix", title, *(head for head, _ in arguments), "[OPTIONS]"])
        parts += [f"## {title}", _escaped(inspect.getdoc(run) or ""), f"```text\n{usage}\n```"]
        parts.append("\n".join(f"- `{head}`: {_escaped(text)}" for head, text in [*arguments, *options]))
    return "\n\n".join(parts)


def _option(name: str, kind: Any, default: Any, about: OptionInfo) -> tuple[str, str]:
    """Return how to type an option, and what the option does."""
    flag = f"--{name.replace('_', '-')}"
    # Inside Annotated, typer stores the first name of an option in the field for the default.
    names = [each for each in (about.default, *(about.param_decls or ())) if isinstance(each, str) and each[:1] == "-"]
    kinds = [each for each in get_args(kind) or (kind,) if each is not NoneType]
    if bool in kinds:
        head = ", ".join(names or (flag, f"--no-{flag[2:]}")).replace("/", ", ")
    else:
        words = [each.value for each in kinds[0]] if isinstance(kinds[0], EnumType) else []
        head = f"{', '.join(names or (flag,))} {about.metavar or '|'.join(words) or _kind(kinds[0])}"
    text = about.help or ""
    if default is inspect.Parameter.empty:
        text += " Required."
    elif default is not None and not isinstance(default, bool) and "Default:" not in text:
        text += f" Default: {getattr(default, 'value', default)}."
    return head, text


def _kind(kind: Any) -> str:
    return {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]|])", r"\\\1", " ".join(text.split()))
