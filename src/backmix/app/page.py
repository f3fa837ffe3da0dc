"""Build the page of the app with its inputs and outputs. gradio is imported only when the page is built."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from backmix.app.answers import NO_PICTURE, NO_PICTURES, Answers
from backmix.app.markup import heading
from backmix.app.pictures import Seen

LEAST, MOST = 0.5, 0.999  # The ends of the slider, unless the share of the run lies outside.
KEEP = 3600  # The seconds for which the answers of an open page are kept.

# Screen readers read answers aloud whenever they change.
ON_LOAD = """() => {
  document.documentElement.lang = 'en';
  for (const id of ['bm-note', 'bm-card']) document.getElementById(id)?.setAttribute('aria-live', 'polite');
}"""


def build_page(answers: Answers, advice: Sequence[str] = ()) -> Any:
    """Build the page as `gradio.Blocks`, which is not served yet.

    Args:
        answers: The object that answers the actions on the page.
        advice: Sentences that say that the run should not be used, which stand first.
    """
    import gradio as gr

    classifier = answers.classifier
    calibrated = classifier.detector in classifier.thresholds

    def one(given: Any, accept: float) -> tuple[Seen | None, str, str]:
        return answers.one(given, accept)

    def many(given: Any, accept: float, before: list[Seen], progress: Any = gr.Progress()) -> tuple[list[Seen], str]:  # noqa: B008
        def report_progress(done: int, of: int) -> None:
            progress((done, of), unit="pictures")

        return answers.many(given, accept, before, report_progress)

    def move(accept: float, seen: Seen | None, table: list[Seen]) -> tuple[str, str, str]:
        return answers.note(accept), answers.card(seen, accept), answers.table(table, accept)

    with gr.Blocks(title="backmix", analytics_enabled=False) as page:
        gr.HTML(heading(classifier.classes, advice), elem_id="bm-heading")
        with gr.Column(elem_id="bm-settings"):
            accept = gr.Slider(
                min(LEAST, classifier.accept),
                max(MOST, classifier.accept),
                classifier.accept,
                step=0.001,
                label="Share of known photos to accept",
                interactive=calibrated,
                elem_id="bm-accept",
                buttons=["reset"],
            )
            note = gr.HTML(answers.note(classifier.accept), elem_id="bm-note")
        with gr.Tabs(elem_id="bm-tabs"):
            with gr.Tab("One picture"), gr.Row(elem_id="bm-one"):
                file = gr.File(label="A picture", file_count="single", height=140, elem_id="bm-file")
                card = gr.HTML(NO_PICTURE, elem_id="bm-card")
                pictures = gr.HTML(elem_id="bm-pictures")
            with gr.Tab("Many pictures"):
                files = gr.File(
                    label=f"Up to {answers.max_files} pictures",
                    file_count="multiple",
                    height=170,
                    elem_id="bm-files",
                )
                table = gr.HTML(NO_PICTURES, elem_id="bm-answers")
        seen_one = gr.State(None, time_to_live=KEEP)
        seen_many = gr.State([], time_to_live=KEEP)

        # The file data of the browser is used without preprocessing, which would lose the names; see `uploads_in`.
        network: dict[str, Any] = {
            "preprocess": False,
            "concurrency_limit": 1,
            "concurrency_id": "network",
            "api_visibility": "private",
        }
        file.change(one, [file, accept], [seen_one, card, pictures], show_progress_on=card, **network)
        files.change(many, [files, accept, seen_many], [seen_many, table], show_progress_on=table, **network)
        accept.change(
            move,
            [accept, seen_one, seen_many],
            [note, card, table],
            show_progress="hidden",
            trigger_mode="always_last",
            concurrency_limit=4,
            api_visibility="private",
        )
    page.queue(max_size=64, default_concurrency_limit=1, api_open=False)
    return page


def style() -> str:
    """Return the style sheet of the page."""
    return resources.files("backmix.app").joinpath("page.css").read_text(encoding="utf-8")


def theme() -> Any:
    """Return the theme of the parts that gradio draws, with fonts that every machine has."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
