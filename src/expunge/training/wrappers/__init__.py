"""Gradient-level wrappers: they change what an optimiser step does with the gradients of any objective."""

from expunge.training.wrappers.gru import Rectified
from expunge.training.wrappers.saliency import freeze_all_but_salient
from expunge.training.wrappers.sharpness import Sharpness
from expunge.training.wrappers.steps import Steps
from expunge.training.wrappers.window import Separate, Window

__all__ = ["Rectified", "Separate", "Sharpness", "Steps", "Window", "freeze_all_but_salient"]
