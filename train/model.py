"""What every network here is: lines in, classes per frame out; and how one is built from a configuration.

    python -c "from train.config import Lite; from train.model import build; print(build(Lite(), 30656).frames(320))"

A line comes as float32 [B, 1, 32, W], normalised (`train.image.normalise`), with reading order along W.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.config import Crnn as CrnnConfig
from train.config import Lite as LiteConfig


class Net(nn.Module):
    """The interface of networks. Class 0 is the CTC blank. ``fresh``: bool [classes], without the blank, those that the
    weights lacked from which training began; None when it began from none. ``stride``: px from a frame to the next."""

    fresh: Tensor | None = None
    stride: int

    def frames(self, width: int) -> int:
        """How many frames come out for a line ``width`` px long."""
        raise NotImplementedError

    def best(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The best class of each frame, int64 [B, T] (0: blank), and its probability, float32 [B, T]."""
        raise NotImplementedError

    def log_probs(self, x: Tensor) -> Tensor:
        """Log-probabilities of the blank and all classes, float32 [B, T, 1 + classes]."""
        raise NotImplementedError


def build(config: LiteConfig | CrnnConfig, classes: int) -> Net:
    """A fresh network for ``classes`` classes beside the blank, its parameters drawn from torch's generator."""
    if isinstance(config, CrnnConfig):
        from train.crnn import Crnn  # the two kinds import this module

        return Crnn(classes, config.direction)
    from train.lite import Lite

    return Lite(config, classes)


def parameter_count(net: nn.Module) -> int:
    """Trainable numbers."""
    return sum(parameter.numel() for parameter in net.parameters())


def macs(net: Net, width: int = 320) -> int:
    """Multiplications for one line ``width`` px long: counted at every convolution, GRU and linear layer, with the
    class matrix on every frame."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        nonlocal total
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            total += first[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += first[0].numel() * module.in_features
        elif isinstance(module, nn.GRU):
            weights = sum(p.numel() for p in module.parameters() if p.ndim > 1)
            total += first.numel() // module.hidden_size * weights // 2

    handles = [module.register_forward_hook(count) for module in net.modules()]
    training = net.training
    net.eval()
    with torch.no_grad():
        scores = net.log_probs(torch.zeros(1, 1, 32, width, device=next(net.parameters()).device))
    net.train(training)
    for handle in handles:
        handle.remove()
    matrix = getattr(net, "matrix", None)  # multiplied without a layer of its own
    return total + (scores.shape[1] * matrix.numel() if matrix is not None else 0)
