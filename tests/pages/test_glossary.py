"""The words of pages are explained, and a page shows all of them."""

from backmix.app.markup import heading
from backmix.pages.glossary import GLOSSARY


def test_each_word_has_a_short_meaning_in_sentences():
    for word, meaning in GLOSSARY.items():
        assert word and meaning.endswith(".") and meaning[0].isalnum() and len(meaning) < 250
    assert {"AUROC", "p-value", "threshold", "unknown score"} <= set(GLOSSARY)


def test_the_app_has_them_one_click_away():
    shown = heading(["cat", "dog"])
    assert "<summary>What the words mean</summary>" in shown and all(
        f"<strong>{word}</strong>" in shown for word in GLOSSARY
    )
