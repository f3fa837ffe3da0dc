"""Sharing a run on the Hugging Face hub, without anything private, with a model card."""

from backmix.hub.share import save_to_hub

__all__ = ["save_to_hub"]
