"""Published methods that removal.py compares with, and for which expunge has no option: what they change in a model.

What comes after is the retain set alone, with the settings of removal. Each takes the target and a seed.
"""

import torch

NOISE = 0.02  # of the code released with 2505.22310, as the weight 1 of the distance
EPSILON = 1e-8


def negate(model, seed):
    """NoT (2503.05657): the matrices of the first decoder layer, negated."""
    for parameter in model.model.layers[0].parameters():
        if parameter.dim() > 1:
            parameter.data.neg_()


def distort(model, seed):
    """Weight Distortion (2505.22310): Gaussian noise on every weight."""
    noise = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += NOISE * torch.randn(parameter.shape, generator=noise)


def push_away(model, seed):
    """Weight Dist Reg (2505.22310): training lowers loss - d, d the root mean square of the weights' moves."""
    start = [parameter.detach().clone() for parameter in model.parameters()]
    count, distance = model.num_parameters(), {}

    def measure(*_):
        far = sum((now.detach() - then).square().sum() for now, then in zip(model.parameters(), start, strict=True))
        distance["now"] = (far / count + EPSILON).sqrt()

    model.register_forward_pre_hook(measure)
    for parameter, then in zip(model.parameters(), start, strict=True):
        parameter.register_hook(
            lambda gradient, now=parameter, then=then: gradient - (now.detach() - then) / (count * distance["now"])
        )


CHANGES = {"NoT": negate, "Weight Distortion": distort, "Weight Dist Reg": push_away}
