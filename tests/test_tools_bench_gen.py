"""The benchmark runs, end to end and small, and tells the truth about what it could not measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import small_set

from gen.config import load_recipe
from gen.errors import UserError
from gen.fonts import Font
from gen.raster import Face
from gen.sample import RecipeSource
from tools import bench_gen, bench_gen_run, bench_peer_worker, bench_peers_gen
from tools.bench_memory import Footprint, Sampler, children, footprint
from tools.bench_peers_gen import Figures, Peer


def unheard(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def sources() -> dict[str, RecipeSource]:
    small = small_set.source()
    return {name: replace(small, config=load_recipe(config)) for name, config in bench_gen.RECIPES.items()}


def test_speed_has_every_rate_and_ratio(sources: dict[str, RecipeSource], pip_fonts: tuple[Font, ...]) -> None:
    found = bench_gen_run.speed(sources, 20, 2, pip_fonts[0].path, small_set.CHARS, unheard)
    for name in sources:
        rates = found[name]
        assert all(rates[key] > 0 for key in ("full", "wall", "render", "encode", "bytes", "pixels"))
        assert rates["full"] < rates["render"]
        assert 0 < rates["of_encode"] < 1
    lines = bench_gen.speed_lines(found)
    assert len(lines) == 5
    assert all(len(line) < 130 for line in lines)


def test_the_engine_is_timed_with_one_worker_and_with_two(sources: dict[str, RecipeSource]) -> None:
    found = bench_gen_run.scaling(sources["default"], 160, 1, unheard)
    assert all(value > 0 for value in found.values())
    assert "ratio" in bench_gen.workers_lines(found)[0]


def test_memory_is_that_of_the_workers(sources: dict[str, RecipeSource]) -> None:
    first, second = bench_gen_run.memory(sources["default"], [40, 80], 1, unheard)
    assert (first.images, second.images) == (40, 80)
    for found in (first, second):
        assert 20e6 < found.own < 1e9
        assert found.own <= found.private <= found.own + found.atlas
    assert "growth" in bench_gen.memory_lines([vars(first), vars(second)])[-1]


def test_own_memory_and_children_are_found(tmp_path: Path) -> None:
    own = footprint(os.getpid(), tmp_path)
    assert own is not None
    assert own.own > 10e6
    assert own.atlas == 0
    with Sampler(tmp_path) as sampler:
        process = subprocess.Popen([sys.executable, "-c", "x = bytearray(64 << 20); print(1, flush=True); input()"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert process.stdout
        assert process.stdin
        process.stdout.readline()
        assert process.pid in children()
        deadline = time.monotonic() + 10
        while sampler.peak.own <= 64 << 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.stdin.close()
        assert process.wait(10) == 1
        process.stdout.close()
    assert 64 << 20 < sampler.peak.own < 128 << 20
    assert footprint(process.pid, tmp_path) is None
    assert Footprint(1, 5, 1, 4).largest(Footprint(2, 3, 2, 6)) == Footprint(1, 5, 2, 6)


def test_the_atlas_is_drawn_anew(sources: dict[str, RecipeSource]) -> None:
    found = bench_gen_run.atlas({"default": sources["default"]}, 1, unheard)["default"]
    assert found["bytes"] > 10_000
    assert found["fonts"] == 2
    assert "2 fonts" in bench_gen.atlas_lines({"default": found})[0]


def test_the_first_image_of_a_new_process_is_timed(tmp_path: Path) -> None:
    flags = ["--charset", str(tmp_path / "chars.txt")]
    (tmp_path / "chars.txt").write_text("\n".join(small_set.CHARS) + "\n", encoding="utf-8")
    found = bench_gen_run.start([*small_set.font_files(), *flags], 1, unheard, warmup=0)
    assert 0.1 < found["first_image_s"] < found["whole_command_s"]


def test_the_yardstick_draws_what_it_says(pip_fonts: tuple[Font, ...]) -> None:
    draw = bench_peer_worker.pillow(pip_fonts[0].path, small_set.CHARS)
    import cv2
    import numpy as np

    image = cv2.imdecode(np.frombuffer(draw("国" * 12), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert image.shape == (32, 512)
    inked = np.flatnonzero((image < 128).any(axis=0))
    assert inked[-1] - inked[0] > 11 * bench_peer_worker.EM
    rows = np.flatnonzero((image < 128).any(axis=1))
    assert rows[0] > 0  # neither cut at the top nor at the bottom
    assert rows[-1] < 31


def measured(
    monkeypatch: pytest.MonkeyPatch, font: Path, problems: dict[str, str], peers: tuple[Peer, ...]
) -> list[Figures]:
    """The peers part without a venv of its own, in this environment, where none of the peers is installed."""
    monkeypatch.setattr(bench_peers_gen, "prepare_venv", lambda: Path(sys.executable))
    monkeypatch.setattr(bench_peers_gen, "_install", lambda python, name, needs, peer: problems.get(name, ""))
    monkeypatch.setattr(bench_peers_gen, "PEERS", peers)
    return bench_peers_gen.measure_peers(font, small_set.CHARS[:20], rounds=1, scale=0.02)


def test_peers_that_cannot_be_had_are_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, pip_fonts: tuple[Font, ...]
) -> None:
    problems = {"neots": "ERROR: no matching distribution (exit code 1)"}
    found = measured(monkeypatch, pip_fonts[0].path, problems, bench_peers_gen.PEERS[:2])
    plain, again, own, trdg, neots = found
    assert plain.ratio == 1
    assert plain.steady > 0
    assert again.steady > 0
    assert own.steady > 0
    assert own.jpeg
    assert trdg.problem.startswith("not measured: ModuleNotFoundError: No module named 'trdg'")
    assert neots.problem == "not measured: pip: ERROR: no matching distribution (exit code 1)"
    assert (trdg.steady, neots.steady, neots.jpeg) == (0, 0, None)
    lines = bench_peers_gen.table(found)
    assert len(lines) == 6
    assert trdg.problem in lines[4]
    assert "1.00" in lines[1]


def test_a_font_that_the_yardstick_cannot_open_ends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "none.otf").write_bytes(b"no font")
    with pytest.raises(UserError, match="name another font with --font"):
        measured(monkeypatch, tmp_path / "none.otf", {}, ())


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (lambda text: [[0, 255] * 6 * len(text)] * 32, "two different lines give the same image"),
        (lambda text: [[ord(text[0]) % 97] * 16 * len(text)] * 32, "0 grey levels of contrast"),
        (lambda text: [[0, 255, ord(text[0])] * 5] * 32, "px wide"),
        (lambda text: [[0, 255, 0] * len(text)] * 20, "shape"),
    ],
)
def test_a_peer_that_draws_boxes_or_cuts_lines_is_found_out(image: bench_peer_worker.Draw, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        bench_peer_worker.check(image, small_set.CHARS, 12)


def test_the_trial_font_draws_its_characters(pip_fonts: tuple[Font, ...]) -> None:
    path, chars = bench_gen.trial_font(None)
    assert path.name == "NotoSansSC-Regular.otf"
    assert len(chars) > 20_000
    assert all(Face(path).covered(chars[::1000]))


def test_the_command_prints_and_writes_its_figures(
    monkeypatch: pytest.MonkeyPatch,
    sources: dict[str, RecipeSource],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench_gen, "read_sources", lambda fonts: sources)
    output = tmp_path / "bench.json"
    arguments = ["--only", "speed", "--repeats", "1", "--images", "10", "--json", str(output)]
    assert bench_gen.main(arguments) == 0
    assert "plain Pillow" in capsys.readouterr().out
    found = json.loads(output.read_text(encoding="utf-8"))
    assert found["speed"]["classic"]["full"] > 0
    assert found["machine"]["python"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--repeats", "0"], "--repeats 0: give at least 1"),
        (["--images", "10X"], "--images 10X"),
        (["--font", "nowhere.ttf"], "nowhere.ttf"),
        (["--only", "speed", "--json", "nowhere/b.json"], "nowhere"),
    ],
)
def test_mistakes_are_one_line_with_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_gen.main(arguments) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
