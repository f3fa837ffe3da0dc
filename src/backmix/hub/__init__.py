"""Share a run on the Hugging Face hub, with a model card and without anything private."""

from backmix.hub.share import save_to_hub

__all__ = ["save_to_hub"]
