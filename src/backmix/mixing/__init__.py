"""BackMix and its parts. They need no package but torch."""

from __future__ import annotations

from backmix.mixing.backmix import BackMix
from backmix.mixing.bank import ForegroundBank
from backmix.mixing.cam import class_activation_map, grad_cam
from backmix.mixing.draw import Draw
from backmix.mixing.flip_crop import FlipCrop
from backmix.mixing.view import View

__all__ = ["BackMix", "Draw", "FlipCrop", "ForegroundBank", "View", "class_activation_map", "grad_cam"]
