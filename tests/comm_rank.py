"""One of two processes that check the strategies of `train.comm` against sums done by hand.

torchrun --standalone --nproc-per-node 2 tests/comm_rank.py
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from train.auto import measure, noise, settle
from train.comm import Chosen, Local, flat
from train.config import Comm, Learning, Lite, Stage
from train.dist import World, joined, leave
from train.loss import Classes
from train.model import build
from train.objective import Learner, Objective, Precision

STAGE = Stage(name="test", lines=1, lr=4e-3, warmup=1)


def learner(world: World, chosen: Chosen, precision: Precision = "fp32") -> Learner:
    torch.manual_seed(1 + world.rank)  # that all begin alike is the strategy's doing
    net = build(Lite(widths=(8, 8, 16, 16), depths=(0, 1, 0, 1), dim=16), 43)
    return Learner(net, Learning(negatives=0, precision=precision), world, 1, chosen)


def step(it: Learner, number: int) -> float:
    """Step ``number``, on lines of this process's own."""
    lines = noise(6, 43, 96 + 32 * it.world.rank, 4)
    return float(it.step(lines, STAGE, 40, number, number)[0])


def numbers(it: Learner) -> Tensor:
    return flat(list(it.net.parameters()))


def of_all(world: World, tensor: Tensor) -> Tensor:
    """What every process has, [processes, …]."""
    return torch.stack(world.gather(tensor))


def gradients(world: World) -> None:
    """allreduce averages them; compress does, to the digits that half precision has."""
    lines = noise(6, 43, 96 + 32 * world.rank, 4)
    for chosen, error in ((Chosen(), 1e-6), (Chosen("compress"), 2**-9)):
        it = learner(world, chosen)
        own = Objective(it.net, "fp32")
        own("ctc", lines, Classes()).backward()
        each = of_all(world, flat([p.grad for p in it.net.parameters()]))
        mean, size = each.mean(0), each.abs().mean(0)
        it.optimizer.zero_grad()
        it.objective("ctc", lines, Classes()).backward()
        found = flat([p.grad for p in it.net.parameters()])
        assert bool(((found - mean).abs() <= error * size + 1e-8).all()), (chosen, (found - mean).abs().max())
        assert (found == mean).all() or chosen.strategy == "compress"
        halves = of_all(world, found)
        assert torch.equal(halves[0], halves[1])


def scaled(world: World) -> None:
    """Where the loss is scaled for float16, gradients keep their size, and the scaler learns of those too large."""
    norms = []
    for chosen in (Chosen(), Chosen("compress")):
        it = learner(world, chosen, "fp16")
        it.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        lines = noise(6, 43, 96 + 32 * world.rank, 4)
        norms.append(float(it.step(lines, STAGE, 40, 0, 0)[1]))
        it.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
        before = numbers(it)
        step(it, 1)
        assert torch.equal(numbers(it), before), chosen
        assert it.scaler.get_scale() < 2.0**40, chosen
    assert abs(norms[1] - norms[0]) < 0.01 * norms[0], norms


def averages(world: World) -> None:
    """Changes are averaged, those before count by the momentum (Nesterov), in double precision here."""
    for momentum, rate in ((0.0, 1.0), (0.9, 0.7)):
        it = learner(world, Chosen("local", 2, "world", momentum, rate))
        begun = of_all(world, numbers(it))
        assert torch.equal(begun[0], begun[1])
        anchor, outer = begun[0].double(), torch.zeros_like(begun[0]).double()
        for number in range(3):
            for _ in range(2):
                step(it, number)
            apart = of_all(world, numbers(it)).double()
            assert not torch.equal(apart[0], apart[1])
            buffers = of_all(world, flat(list(it.net.buffers()))).mean(0)
            change = apart.mean(0) - anchor
            outer = momentum * outer + change
            anchor = anchor + rate * (change + momentum * outer)
            it.comm.synchronise()
            now = of_all(world, numbers(it))
            assert torch.equal(now[0], now[1])
            assert torch.allclose(now[0].double(), anchor, rtol=0, atol=float(change.abs().max()) * 2**-9)
            assert torch.allclose(flat(list(it.net.buffers())), buffers)
            anchor = now[0].double()


def goes_back_and_on(world: World) -> None:
    """After `undo` the same steps give the same; so they do in another process, and fewer take the mean moments."""
    it = learner(world, Chosen("local", 2, "world", 0.5))
    assert "moments" not in it.comm.state()

    def two(it: Learner) -> Tensor:
        for number in (2, 3):
            step(it, number)
        it.comm.synchronise()
        return numbers(it)

    two(it)
    values, own = it.state(), it.comm.state()
    if world.first:
        assert len(own["moments"]) == 2
        assert not torch.equal(*own["moments"])
    saved = world.gather((values, own))[0]
    step(it, 2)
    it.comm.undo()
    expected = two(it)
    other = learner(world, it.comm.chosen)
    other.load(saved[0])
    other.comm.load(saved[1])
    assert torch.equal(two(other), expected)
    for wanted, chosen in ((0, Chosen()), (0, Chosen("local", 2))):
        changed = learner(world, chosen)
        changed.load(saved[0])
        moments = [*saved[1]["moments"], torch.zeros_like(saved[1]["moments"][0])]
        changed.comm.load({"moments": moments})
        assert torch.allclose(flat(changed.comm.moments()), torch.stack(moments).mean(0)), wanted


def hosts(world: World) -> None:
    """Two processes of one host, of two as the strategy is told, are the same after every step."""
    one = replace(world, places=(("a", ""), ("a", "")))
    it = learner(one, Chosen("local", 4, "hosts"))
    assert isinstance(it.comm, Local)
    step(it, 1)
    same = of_all(world, numbers(it))
    assert torch.equal(same[0], same[1])
    assert it.comm.nearby(world.rank == 1)
    it.comm.synchronise()
    assert len(it.comm.state().get("moments", [])) == 0
    assert torch.allclose(numbers(it), same[0], atol=1e-5)


def learns(world: World) -> None:
    """What is learned after as many steps is about the same."""
    losses = {}
    for chosen in (Chosen(), Chosen("compress"), Chosen("local", 4)):
        it = learner(world, chosen)
        for number in range(40):
            loss = step(it, number)
            if it.comm.together(number + 1, 40):
                it.comm.synchronise()
            losses.setdefault(str(chosen), []).append(sum(world.gather(loss)) / 2)
    first, half, local = losses.values()
    assert first[-1] < first[0] / 2, first
    assert abs(half[-1] - first[-1]) < 0.1 * first[0]
    assert abs(local[-1] - first[-1]) < 0.1 * first[0], (first[-1], local[-1])


def choice(world: World) -> None:
    """Each measures; all take what the slowest has seen."""
    two = replace(world, places=(("a", ""), ("b", "")))
    chosen, kept, told = settle(Comm(), two, {}, lambda: measure(two, 1000, lambda: sum(range(world.rank * 10**5))))
    assert len(told) == 1
    assert world.gather((chosen, kept))[0] == (chosen, kept)


if __name__ == "__main__":
    with joined("cpu", 30) as world:
        for check in (gradients, scaled, averages, goes_back_and_on, hosts, learns, choice):
            check(world)
    print("all well\n", end="")
    leave(0)
