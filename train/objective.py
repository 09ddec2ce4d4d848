"""A step of learning: batch to loss to moved parameters, in the precision of the device.

python -m tools.bench_step
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.comm import Chosen, strategy
from train.config import Learning, Stage
from train.data import Batch
from train.dist import World
from train.image import normalise
from train.lite import Lite
from train.loss import Classes, ctc_loss, frames_loss, sample_classes
from train.model import Net
from train.optim import make_optimizer, set_rate

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
NEAREST = 2  # of each label's look-alikes are among the sampled classes
NEGATIVES = 3000  # classes sampled on a CPU, where all of them would cost more than the rest of the network


def best_precision(device: torch.device) -> Precision:
    """bf16 where the processor computes in it, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # not in the oldest versions
    return "bf16" if dict(capabilities()).get("avx512_bf16") else "fp32"


class Objective(nn.Module):
    """The loss of a batch as one module, so that DDP sees all of it."""

    def __init__(self, net: Net, precision: Precision) -> None:
        super().__init__()
        self.net, self.precision = net, precision

    def forward(self, loss: str, batch: Batch, classes: Classes) -> Tensor:
        """The mean loss: per character for ctc, see `frames_loss` for frames."""
        x = normalise(batch.images.float())
        x = x.contiguous(memory_format=torch.channels_last)
        given = (x, batch.widths, batch.labels, batch.lengths)
        with torch.autocast(x.device.type, DTYPES.get(self.precision), enabled=self.precision in DTYPES):
            if loss == "frames":
                assert isinstance(self.net, Lite)
                return frames_loss(self.net, *given, batch.centres, classes)
            return ctc_loss(self.net, *given, classes).sum() / batch.lengths.sum()


class Learner:
    """A network with its optimizer; the same on every rank where ``comm`` says so."""

    def __init__(self, net: Net, learning: Learning, world: World, seed: int, chosen: Chosen | None = None) -> None:
        self.net = net.to(world.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.learning, self.world, self.seed = learning, world, seed
        self.precision: Precision = learning.precision or best_precision(world.device)
        self.optimizer = make_optimizer(self.net, learning)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.precision == "fp16")
        cuda = world.device.type == "cuda"
        if cuda and self.precision != "fp32":  # then the class matrix, in float32, may round to TF32 as well
            torch.set_float32_matmul_precision("high")
        self.negatives = learning.negatives if learning.negatives is not None else (0 if cuda else NEGATIVES)
        self.near: NDArray[np.int32] | None = None  # look-alikes of the stage, see `sample_classes`
        self.comm = strategy(chosen or Chosen(), world, self.net, self.optimizer)
        self.objective = self.comm.wrap(Objective(self.net, self.precision), self.scaler.is_enabled())

    def step(self, batch: Batch, stage: Stage, steps: int, step: int, seed_step: int) -> tuple[Tensor, Tensor, float]:
        """Learn from a batch: step ``step`` of a stage of ``steps``. Loss and gradient norm (still on the device, so
        that the next batch need not wait for them), and the learning rate. The batch is moved to the device here: what
        its labels decide is decided before, so that a GPU need not be waited for."""
        self.net.train()
        if stage.learn == "new":  # other means and variances would change how known characters are read
            for module in self.net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        lr = set_rate(self.optimizer, stage, steps, step)
        classes = Classes()
        if isinstance(self.net, Lite):
            near = None if self.near is None else self.near[:, :NEAREST]
            count = len(self.net.matrix)
            classes = sample_classes(batch.labels - 1, count, self.negatives, self.seed, seed_step, near)
        loss = self.objective(stage.loss, batch.to(self.world.device), classes.to(self.world.device))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        if stage.learn == "new":
            self._keep_known()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.learning.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.comm.after_step()
        return loss.detach(), norm.detach(), lr

    def _keep_known(self) -> None:
        """Leave gradients, and momentum of earlier stages, only to rows of fresh classes."""
        for name, parameter in self.net.named_parameters():
            if name == "matrix" and parameter.grad is not None and self.net.fresh is not None:
                rows = self.net.fresh.to(parameter.device)[:, None]
                for tensor in (parameter.grad, self.optimizer.state[parameter].get("exp_avg")):
                    if tensor is not None:
                        tensor *= rows
            else:
                parameter.grad = None

    def state(self) -> dict[str, object]:
        """What `load` needs to go on to the bit."""
        return {
            "net": self.net.state_dict(),
            "fresh": self.net.fresh,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, dict[str, object]]) -> None:
        """Go on from `state`; what the configuration says now about weight decay holds."""
        self.net.load_state_dict(state["net"])
        fresh = state.get("fresh")  # not in older checkpoints
        self.net.fresh = fresh if isinstance(fresh, Tensor) else None
        decays = [group["weight_decay"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, decay in zip(self.optimizer.param_groups, decays):
            group["weight_decay"] = decay
        if state["scaler"] and self.scaler.is_enabled():  # empty when it was saved in another precision
            self.scaler.load_state_dict(state["scaler"])
