"""What may befall a run on two hosts: it goes on without a person, loses at most the steps since its last checkpoint,
and never waits silently. Real agents of torchrun on imitated hosts (`tools.netns`)."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import EVERY, PATIENCE, STEPS, Agent, agents, step, two_hosts, until
from train_runs import assert_equal

from tools.netns import Host

pytestmark = pytest.mark.long  # a minute each
Pair = tuple[Host, Host]
STRATEGIES = {"allreduce": (), "local": ("comm.strategy=local", "comm.every=5")}
LOST = {"allreduce": EVERY, "local": EVERY + 5}  # steps, at most
LAST = "run/last.pt"
MIDDLE = STEPS // 3


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pair]:
    with two_hosts() as found:
        yield found


@pytest.fixture(scope="module", params=list(STRATEGIES))
def comm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def undisturbed(hosts: Pair, comm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run that nothing befell."""
    folder = tmp_path_factory.mktemp("undisturbed")
    pair = both(folder, hosts, comm)
    with agents(*pair):
        assert [agent.end() for agent in pair] == [0, 0], pair[0].said()
    return folder / LAST


def both(folder: Path, hosts: Pair, comm: str, nodes: str = "2") -> tuple[Agent, Agent]:
    first, second = hosts
    sets = STRATEGIES[comm]
    return Agent(first, folder, first, nodes, sets=sets), Agent(second, folder, first, nodes, sets=sets)


def resumed(agent: Agent) -> list[int]:
    """The steps from which the run has gone on."""
    return [int(number) for number in re.findall(r"going on from step (\d+)", agent.said())]


def test_a_cut_of_twenty_seconds_is_waited_for(tmp_path: Path, hosts: Pair, comm: str, undisturbed: Path) -> None:
    pair = first, second = both(tmp_path, hosts, comm)
    with agents(*pair):
        until(lambda: step(first) >= MIDDLE, *pair)
        second.host.cut()
        try:
            time.sleep(20)
        finally:
            second.host.restore()
        assert step(first) < STEPS - EVERY  # the run had to wait
        assert [agent.end() for agent in pair] == [0, 0], first.said()
    assert resumed(first) == []
    assert_equal(tmp_path / LAST, undisturbed)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_is_started_again(tmp_path: Path, hosts: Pair, comm: str, undisturbed: Path, victim: int) -> None:
    pair = both(tmp_path, hosts, comm)
    with agents(*pair):
        until(lambda: step(pair[0]) >= MIDDLE, *pair)
        (rank,) = pair[victim].workers()
        reached = step(pair[0])
        os.kill(rank, signal.SIGKILL)
        assert [agent.end() for agent in pair] == [0, 0], pair[0].said()
    (begin,) = resumed(pair[0])
    assert reached - LOST[comm] <= begin < STEPS
    assert_equal(tmp_path / LAST, undisturbed)


def test_a_host_without_power_that_comes_back(tmp_path: Path, hosts: Pair, comm: str, undisturbed: Path) -> None:
    pair = first, second = both(tmp_path, hosts, comm)
    with agents(*pair):
        until(lambda: step(first) >= MIDDLE, *pair)
        reached = step(first)
        second.kill()
        again = Agent(second.host, tmp_path, first.host, name="again", sets=STRATEGIES[comm])
        with agents(again):
            assert [first.end(), again.end()] == [0, 0], first.said() + again.said()
    (begin,) = resumed(first)
    assert reached - LOST[comm] <= begin < STEPS
    assert "lost touch with the others" in first.said()
    assert_equal(tmp_path / LAST, undisturbed)


def test_a_host_that_comes_later(tmp_path: Path, hosts: Pair, comm: str) -> None:
    sets = STRATEGIES[comm]
    first = Agent(hosts[0], tmp_path, hosts[0], "1:2", sets=sets)
    with agents(first):
        until(lambda: step(first) >= EVERY, first)
        second = Agent(hosts[1], tmp_path, hosts[0], "1:2", sets=sets)
        with agents(second):
            assert [first.end(), second.end()] == [0, 0], first.said() + second.said()
    stopped = re.search(r"stopped and saved after step (\d+)", first.said())
    assert stopped is not None
    assert resumed(first) == [int(stopped[1])]  # nothing is lost
    assert "on 2 processes" in first.said()
    assert f"done after {STEPS} steps" in first.said()


@pytest.mark.parametrize("nodes", ["2", "1:2"])
def test_a_host_that_is_gone_for_good(tmp_path: Path, hosts: Pair, comm: str, nodes: str) -> None:
    pair = first, second = both(tmp_path, hosts, comm, nodes)
    with agents(*pair):
        until(lambda: step(first) >= MIDDLE, *pair)
        second.host.cut()
        try:
            reached, begin = step(first), time.monotonic()
            until(lambda: "lost touch" in first.said(), first)
            until(lambda: "lost touch" in second.said())
            waited = time.monotonic() - begin
            code = first.end()
        finally:
            second.host.restore()  # its agent waits for the lost host as long as TCP does, a quarter of an hour
    assert waited < 2 * PATIENCE + 60  # not for ever: how long exactly is for the time-out to say
    for agent, rank, other in ((first, 0, second), (second, 1, first)):
        assert f"rank {rank} lost touch with the others at step" in agent.said()
        assert other.host.address in agent.said()
    if nodes == "2":
        assert code != 0
    else:
        assert code == 0, first.said()
        (went_on,) = resumed(first)
        assert reached - LOST[comm] <= went_on < STEPS
        assert "on 1 process" in first.said()
