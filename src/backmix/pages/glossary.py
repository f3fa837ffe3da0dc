"""The words of reports and pages, explained to someone who never heard of them."""

from __future__ import annotations

GLOSSARY = {
    "known, unknown": "Known classes are those that it was trained on. Everything else is unknown.",
    "unknown score": "How strange an image looks to the network. Above the threshold it is called unknown.",
    "threshold": "The score above which an image is called unknown. It is set on images that were held out.",
    "held out": "Kept from training, so that the threshold, or a test, is not fooled by what was learned by heart.",
    "accepted, refused": "An accepted image is given the name of a class; a refused one is called unknown.",
    "accuracy": "The share of images of known classes that are given the right class, before any is refused.",
    "AUROC": "Take an image of a known class and one of something else: how often the second has the higher unknown "
    "score. 0.5 is the toss of a coin, 1 is never wrong.",
    "OSCR": "AUROC where a known image counts only if it is also given the right class.",
    "FPR95": "The share of unknown images taken for known ones where 95 % of the known ones are accepted.",
    "p-value": "The share of known images that look at least as strange as this one; a small one speaks for unknown.",
    "95 % interval": "How far a figure may be off because only so many images were tested.",
}
"""Words, and what they mean in one or two sentences."""
