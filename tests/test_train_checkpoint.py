"""Files of weights and of training state: as they were written or not at all, whatever happens to process and disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gen.charset import Charset
from gen.errors import UserError
from train.checkpoint import (
    BEST,
    DAMAGED,
    FORMAT,
    LAST,
    PREVIOUS,
    Weights,
    describe,
    half,
    load,
    load_newest,
    load_weights,
    revision,
    save,
)
from train.codec import Codec
from train.config import Crnn, Lite
from train.image import ImageSpec
from train.model import Net, build

ROOT = Path(__file__).parent.parent
CHARSET = Charset("天地人一二三")
MODEL = Lite(stride=8, widths=(4, 4, 4, 4), depths=(0, 1, 0, 0), dim=8, scale=9.0, space=True)
torch.set_num_threads(1)


def make(model: Lite | Crnn = MODEL, changes: Mapping[str, Any] | None = None) -> tuple[Net, dict[str, Any]]:
    """A network and the values of its file."""
    torch.manual_seed(1)
    codec = Codec(CHARSET, model.space)
    net = build(model, codec.classes).eval()
    about = describe(model, codec, ("vertical",), ImageSpec(trim=False))
    return net, {
        **about,
        "net": net.state_dict(),
        "about": {"step": 7, "metrics": {"line_accuracy": 0.5}},
        **(changes or {}),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, Tensor) else a == b


def refusal(path: Path, *more: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_weights(path, *more) if more else load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize("model", [MODEL, Crnn(kind="crnn", direction="vertical")], ids=lambda model: model.kind)
def test_weights_come_back(tmp_path: Path, model: Lite | Crnn) -> None:
    net, values = make(model)
    save(tmp_path / "new" / "w.pt", values)
    found = load_weights(tmp_path / "new" / "w.pt")
    assert isinstance(found, Weights)
    assert same(load(tmp_path / "new" / "w.pt"), values)
    assert same(found.net.state_dict(), net.state_dict())
    assert not found.net.training
    assert found.codec == Codec(CHARSET, model.space)
    assert (found.directions, found.image, found.about) == (("vertical",), ImageSpec(trim=False), values["about"])
    x = torch.randn(1, 1, 32, 40)
    assert torch.equal(found.net.log_probs(x), net.log_probs(x))
    assert os.listdir(tmp_path / "new") == ["w.pt"]


def test_half_the_size_and_nearly_the_same(tmp_path: Path) -> None:
    net, values = make()
    state = half(net.state_dict())
    save(tmp_path / BEST, {**values, "net": state})
    assert {tensor.dtype for tensor in state.values()} == {torch.float16, torch.int64}
    found, x = load_weights(tmp_path / BEST).net, torch.randn(2, 1, 32, 64)
    assert all(tensor.dtype != torch.float16 for tensor in found.state_dict().values())
    torch.testing.assert_close(found.log_probs(x), net.log_probs(x), atol=0.05, rtol=0)


def test_a_checkpoint_reads_with_its_average(tmp_path: Path) -> None:
    net, values = make()
    average = {name: torch.ones_like(tensor) for name, tensor in net.state_dict().items()}
    save(tmp_path / LAST, {**values, "ema": average, "step": 3, "optimizer": {"state": {0: torch.zeros(3)}}})
    assert same(load_weights(tmp_path / LAST).net.state_dict(), average)
    assert load(tmp_path / LAST)["optimizer"]["state"][0].shape == (3,)


def test_no_byte_goes_unnoticed(tmp_path: Path) -> None:
    """Neither a flipped one, in the tensors or in the archive's own bookkeeping, nor missing or added ones."""
    path = tmp_path / "w.pt"
    save(path, make()[1])
    whole = path.read_bytes()
    damaged = [whole[:k] + bytes([whole[k] ^ (1 << k % 8)]) + whole[k + 1 :] for k in range(0, len(whole), 29)]
    damaged += [whole[:k] for k in (0, 1, 100, len(whole) // 2, len(whole) - 40, len(whole) - 1)] + [whole + b"\0"]
    for data in damaged:
        path.write_bytes(data)
        assert "is damaged" in refusal(path)
    for data in damaged[::20] + damaged[-7:]:
        path.write_bytes(data)
        refusal(path, None, None)  # load_weights: might be the older project's
    path.write_bytes(whole)
    assert load(path)["about"]["step"] == 7


def test_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    last, previous = tmp_path / LAST, tmp_path / PREVIOUS
    assert load_newest(tmp_path) == (None, [])
    for step in (1, 2):
        save(last, {**make()[1], "step": step}, keep=previous)
    values, notes = load_newest(tmp_path)
    assert values is not None
    assert (values["step"], notes) == (2, [])
    last.write_bytes(last.read_bytes()[:-100])
    values, notes = load_newest(tmp_path)
    assert values is not None
    assert values["step"] == 1
    assert re.search(r"last\.pt is damaged", notes[0])
    assert not last.exists()  # or the next save would put it in place of the whole one
    assert (tmp_path / DAMAGED).exists()
    values, notes = load_newest(tmp_path)  # stopped between the two renames
    assert values is not None
    assert (values["step"], notes) == (1, [])
    previous.write_bytes(b"")
    with pytest.raises(UserError, match=r"previous\.pt is damaged.*no whole checkpoint.*--out"):
        load_newest(tmp_path)


def test_a_checkpoint_of_another_version_is_not_damaged(tmp_path: Path) -> None:
    last = tmp_path / LAST
    for step, version in ((1, FORMAT), (2, FORMAT + 1)):
        save(last, {**make()[1], "step": step, "format": version}, keep=tmp_path / PREVIOUS)
    with pytest.raises(UserError, match=r"last\.pt is not a checkpoint of this program, which writes format"):
        load_newest(tmp_path)
    assert last.exists()


@pytest.mark.parametrize("point", [0, 1])
def test_stopped_at_a_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int) -> None:
    """There is a whole checkpoint, and nothing to be said about another, before each of the two."""
    last, previous, replace, calls = tmp_path / LAST, tmp_path / PREVIOUS, os.replace, iter(range(9))
    save(last, {**make()[1], "step": 1})

    def stop(source: Path, target: Path) -> None:
        if next(calls) == point:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save(last, {**make()[1], "step": 2}, keep=previous)
    values, notes = load_newest(tmp_path)
    assert values is not None
    assert (values["step"], notes) == (1, [])


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_payload_does_not_run(tmp_path: Path) -> None:
    path, proof = tmp_path / "w.pt", tmp_path / "proof"
    save(path, {**make()[1], "about": Payload(proof)})
    assert "nothing of it was run" in refusal(path)
    refusal(path, None, None)
    torch.save({**make()[1], "about": Payload(proof)}, path)
    refusal(path, CHARSET, "vertical")
    assert not proof.exists()


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    for data in (b"", b"PK", b"\x80\x02", "天地人\n".encode(), os.urandom(5000)):
        path.write_bytes(data)
        refusal(path)
        refusal(path, CHARSET)
    assert "does not exist" in refusal(tmp_path / "none.pt")
    assert "Is a directory" in refusal(tmp_path)
    torch.save({"format": 1, "net": {}}, path)
    assert "no file that this program wrote" in refusal(path)
    assert "--charset FILE" in refusal(path, None, None)  # perhaps an older checkpoint
    save(path, {"format": 2})
    assert "writes format 1" in refusal(path)
    save(path, {"format": 1, "charset": CHARSET.chars, "charset_sha256": CHARSET.sha256})
    assert "not whole: 'space'" in refusal(path, None, None)


@pytest.mark.parametrize("wrong", [{"model": {"kind": "lite", "depth": 3}}, {"net": {}}, {"image": {"size": 3}}])
def test_a_file_that_contradicts_itself(tmp_path: Path, wrong: dict[str, Any]) -> None:
    save(tmp_path / "w.pt", make(MODEL, wrong)[1])
    assert "is not whole" in refusal(tmp_path / "w.pt", None, None)


def test_asked_for_something_else(tmp_path: Path) -> None:
    path, other = tmp_path / "w.pt", Charset("天地")
    save(path, make()[1])
    text = refusal(path, other, None)
    assert CHARSET.sha256[:12] in text
    assert other.sha256[:12] in text
    assert "6 characters" in text
    assert "has 2" in text
    assert "reads vertical lines, not horizontal ones" in refusal(path, None, "horizontal")
    assert load_weights(path, CHARSET, "vertical").directions == ("vertical",)


def python(code: str, folder: Path, warnings: str = "error") -> str:
    """Run code in a process of its own, with a network's values at hand; what it prints."""
    start = (
        "import sys; sys.path += ['tests']; import test_train_checkpoint as t, torch; from train.checkpoint import *\n"
    )
    command = [sys.executable, "-W", warnings, "-c", start + code, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


FULL = """
import resource
last, previous = Path(sys.argv[1], "last.pt"), Path(sys.argv[1], "previous.pt")
values = {**t.make()[1], "more": torch.zeros(100_000)}
for step in (1, 2):
    save(last, {**values, "step": step}, keep=previous)
for limit in (0, 300_000, last.stat().st_size - 10):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save(last, {**values, "step": 3}, keep=previous)
    except UserError as error:
        print(limit, error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(load(last)["step"], load(previous)["step"], sorted(os.listdir(sys.argv[1])))
"""


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """Full from the start, in the middle of a tensor, and for the last few bytes."""
    said = python(FULL, tmp_path).splitlines()
    assert len(said) == 6
    for refused, left in zip(said[::2], said[1::2]):
        assert "last.pt cannot be written: " in refused
        assert "make room" in refused
        assert left == "2 1 ['last.pt', 'previous.pt']"


KILLED = """
import random, signal, time
last, previous = Path(sys.argv[1], "last.pt"), Path(sys.argv[1], "previous.pt")
values = {**t.make()[1], "more": torch.zeros(200_000)}
save(last, {**values, "step": 0})
random.seed(4)
for _ in range(12):
    done = load_newest(last.parent)[0]["step"]
    ours, theirs = os.pipe()
    if not (child := os.fork()):
        for step in range(done + 1, done + 1000):
            save(last, {**values, "step": step}, keep=previous)
            os.write(theirs, b".")
    assert os.read(ours, 1)  # one is saved; then at any moment
    time.sleep(random.uniform(0, 0.04))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(theirs)
    saved = done + 1 + len(os.read(ours, 1000))
    found, notes = load_newest(last.parent)
    assert found["step"] in (saved, saved + 1) and not notes, (found["step"], saved, notes)
print(found["step"], len(list(last.parent.glob(".*.tmp"))))
"""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """What was saved is there, whole; and what the dead left half-written does not pile up."""
    steps, left = map(int, python(KILLED, tmp_path, "ignore").split())
    assert steps >= 12
    assert left <= 1


def test_the_revision_of_the_code() -> None:
    found = revision()
    assert re.fullmatch(r"([0-9a-f]{7,40}\+?)?", found)
    assert bool(found) == (ROOT / ".git").exists()
