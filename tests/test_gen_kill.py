"""Really killed at random moments, again and again, and in the end not a byte differs from a run left alone.

python -m pytest tests/test_gen_kill.py                  # a few kills
python -m pytest tests/test_gen_kill.py -m long          # sixty
"""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_set import ROOT, contents, drafts, flags, start

N = ["--n", "300", "--seed", "3"]
MANY = ["--n", "20k", "--seed", "3"]  # seconds of drawing on a machine that does nothing else: kills are to hit it
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


def processes(session: int) -> dict[int, str]:
    """Processes of a session that are alive, with their command lines."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found[int(stat.parent.name)] = stat.with_name("cmdline").read_text().replace("\0", " ")
        except (OSError, IndexError):
            continue
    return found


def workers(process: subprocess.Popen[str]) -> list[int]:
    return [pid for pid, line in processes(process.pid).items() if "spawn_main" in line]


def gone(session: int, seconds: float) -> bool:
    """Whether every process of a session ends within so many seconds."""
    end = time.monotonic() + seconds
    while processes(session):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def until(process: subprocess.Popen[str], out: Path, shards: int) -> None:
    """Wait for so many finished shards, or the end of the process."""
    while process.poll() is None and len(list(out.glob("*/*-*.json"))) < shards:
        time.sleep(0.01)


def undisturbed(folder: Path, size: list[str], made: str) -> dict[str, bytes]:
    """The files of a run that nobody disturbs."""
    process = start(["--out", str(folder / "out"), *flags(folder), *size])
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert f"Made {made} images" in out
    return contents(folder / "out")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed(tmp_path_factory.mktemp("whole"), N, "700")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed(tmp_path_factory.mktemp("large"), MANY, "20,400")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    return ["--out", str(tmp_path / "out"), *flags(tmp_path), *N]


def kill_and_go_on(arguments: list[str], out: Path, rounds: int, seed: int) -> int:
    """Kill the parent, or a worker, at random moments of so many runs, then let one finish; the kills that hit."""
    dice, hits = random.Random(seed), 0
    for _ in range(rounds):
        process = start(arguments)
        # Some moments count from a shard that is just being published, the others from the start.
        if dice.random() < 0.7:
            until(process, out, len(list(out.glob("*/*-*.json"))) + dice.choice((1, 1, 2)))
            time.sleep(dice.random() * 0.1)
        else:
            time.sleep(dice.random() * 3)
        hits += process.poll() is None
        if dice.random() >= 0.6 and (crew := workers(process)):
            os.kill(dice.choice(crew), signal.SIGKILL)
            time.sleep(dice.random() * 0.5)
        process.kill()
        process.communicate()
        assert gone(process.pid, 10), processes(process.pid)
    process = start(arguments)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return hits


def test_killed_and_started_again_gives_the_same_bytes(
    arguments: list[str], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    kill_and_go_on(arguments, tmp_path / "out", 3, seed=1)
    assert contents(tmp_path / "out") == whole
    assert drafts(tmp_path / "out") == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_many_moments(tmp_path: Path, large: dict[str, bytes], seed: int) -> None:
    arguments = ["--out", str(tmp_path / "out"), *flags(tmp_path), *MANY]
    hits = kill_and_go_on(arguments, tmp_path / "out", 6, seed=100 + seed)
    assert hits >= 3
    assert contents(tmp_path / "out") == large
    assert drafts(tmp_path / "out") == []


def test_killed_workers_are_replaced(arguments: list[str], tmp_path: Path, whole: dict[str, bytes]) -> None:
    process = start(arguments)
    for shards in (1, 5):
        until(process, tmp_path / "out", shards)
        crew = workers(process)
        if crew:
            os.kill(crew[0], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Made 700 images" in out
    assert contents(tmp_path / "out") == whole
    assert drafts(tmp_path / "out") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_says_how_to_go_on(arguments: list[str], tmp_path: Path, number: int, code: int) -> None:
    process = start([*arguments, "--n", "100k"])
    until(process, tmp_path / "out", 3)
    begin = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begin < 5
    assert process.returncode == code
    assert err.count("\n") == 1, err
    assert " of 2020 shards in" in err
    assert "the same command goes on from there" in err
    assert gone(process.pid, 5)
    assert drafts(tmp_path / "out") == []


def test_slices_side_by_side_give_the_same_set(arguments: list[str], tmp_path: Path, whole: dict[str, bytes]) -> None:
    parts = [start([*arguments, "--workers", "1", "--slice", f"{part}/2"]) for part in (0, 1)]
    for process in parts:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert contents(tmp_path / "out") == whole


def test_the_same_run_twice_at_once_is_refused(arguments: list[str], tmp_path: Path, whole: dict[str, bytes]) -> None:
    first = start(arguments)
    until(first, tmp_path / "out", 1)
    second = start(arguments)
    _, err = second.communicate(timeout=120)
    if first.poll() is None or second.returncode:  # on a slow machine the first may be done by now
        assert second.returncode == 2
        assert "another run is making" in err
    assert first.communicate(timeout=300)
    assert first.returncode == 0
    assert contents(tmp_path / "out") == whole


def full_disk_is_told(err: str, code: int, out: Path) -> None:
    assert code == 2, err
    assert err.count("\n") == 1, err
    named = re.search(r"shard ((?:horizontal|vertical)/(?:train|val)-\d{6}) could not be written", err)
    assert named, err
    assert not (out / f"{named[1]}.json").exists()  # it is the one that is not there
    assert drafts(out) == []
    for sidecar in out.glob("*/*-*.json"):
        assert sidecar.with_suffix(".tar").exists()


def test_a_limit_on_file_size_is_told_like_a_full_disk(arguments: list[str], tmp_path: Path) -> None:
    """The operating system refuses to write past 1 MB of any file, as it refuses on a full disk."""
    arguments = [*arguments, "--shard-size", "2000", "--n", "8000"]
    code = f"import resource,sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({10**6},) * 2); from gen.cli import main; "
    done = subprocess.run(
        [sys.executable, "-c", code + f"sys.exit(main({arguments!r}))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 10**6
    full_disk_is_told(done.stderr, done.returncode, tmp_path / "out")
    assert "File too large" in done.stderr


def test_a_full_disk_is_told_and_space_is_all_it_takes(
    arguments: list[str], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(out)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        process = start(arguments)
        until(process, out, 1)
        ballast = out / "ballast"
        with ballast.open("wb") as file:  # somebody else fills the disk in the middle of the run
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        _, err = process.communicate(timeout=300)
        full_disk_is_told(err, process.returncode, out)
        assert "No space left on device" in err
        kept = {name: data for name, data in contents(out).items() if name != "ballast"}
        assert {name: whole[name] for name in kept} == kept
        ballast.unlink()
        process = start(arguments)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert contents(out) == whole
    finally:
        subprocess.run(["umount", str(out)], check=False)
