"""Every command in the READMEs runs, with sizes shrunk; and the two READMEs have the same ones.

pytest tests/test_readme.py
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from gen.fonts import Font
from tests.conftest import HAN, small_charset
from train.cli import parser as train_parser

ROOT = Path(__file__).parent.parent
SMALL = {"--n": "48", "--num": "16", "--rounds": "1"}
CHARSET = ("--charset", "my_words.txt")


def commands(name: str) -> list[str]:
    """The lines of the shell blocks of a README, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_both_readmes_have_the_same_commands() -> None:
    assert commands("README.md") == commands("README.zh-CN.md")


def test_the_make_targets_exist() -> None:
    for line in commands("README.md"):
        if line.startswith("make"):
            done = subprocess.run(["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    assert "shards" in subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def make_foreign_data(folder: Path) -> None:
    """Labelled images, and tars of them as others make them."""
    (folder / "my-images").mkdir()
    (folder / "foreign").mkdir()
    labels = []
    with tarfile.open(folder / "foreign" / "part-0.tar", "w") as tar:
        for number, text in enumerate(("大小", "天地人", "2000", "中国人民") * 6):
            name = f"{number:03d}.png"
            image = Image.new("L", (24 * len(text) + 8, 32), 255)
            image.paste(40, (4, 8, 24 * len(text), 24))
            image.save(folder / "my-images" / name)
            (folder / "my-images" / f"{number:03d}.txt").write_text(text, encoding="utf-8")
            labels.append(f"{name}\t{text}\n")
            for each in (name, f"{number:03d}.txt"):
                tar.add(folder / "my-images" / each, each)
    (folder / "labels.tsv").write_text("".join(labels), encoding="utf-8")


def test_every_command_runs(tmp_path: Path, pip_fonts: tuple[Font, ...]) -> None:
    """In the order of the README, in an empty folder, with 48 images instead of millions.

    The small charset stands in for the packaged one where a command names none, so that glyphs are drawn in seconds.
    """
    (tmp_path / "my_words.txt").write_text("\n".join(small_charset().chars) + "\n", encoding="utf-8")
    (tmp_path / "novel.txt").write_text(f"{HAN[:20]}\n{HAN[20:60]}\n", encoding="utf-8")
    for folder in ("my-fonts", "new-fonts"):
        (tmp_path / folder).mkdir()
        shutil.copy(pip_fonts[0].path, tmp_path / folder)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    make_foreign_data(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CRNN_SHARDS_CACHE": str(tmp_path / "cache")}
    for command in commands("README.md"):
        words = shlex.split(command)
        if words[0] == "torchrun":
            if "--nnodes" in words:  # needs two machines: its flags at least are ours
                train_parser().parse_args(words[words.index("train") + 1 :])
                continue
            words = ["python", "-m", "torch.distributed.run", "--nproc-per-node", "2", *words[3:]]
        if words[0] != "python":
            continue
        words = [SMALL.get(before, word) for before, word in zip(["", *words], words)]
        if "train" in words:
            words += ["--steps", "2", "--set", "data.val=8", "--set", "data.workers=0", "--device", "cpu"]
            words += [] if "--charset" in words or not any("gen:" in word for word in words) else [*CHARSET]
        if (
            words[2] in ("gen", "tools.preview", "tools.import_lines")
            and "--charset" not in words
            and "--finish" not in words
        ):
            words += CHARSET
        if words[2] == "tools.bench_loader":  # there is one small shard
            words += ["--workers", "1", "--rounds", "1", "--batch", "12"]
        if "--slice" in words:  # one machine plays all of them
            words[words.index("0/16")] = "0/1"
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "shards/horizontal/manifest.json").is_file()
    assert (tmp_path / "shards/report.html").is_file()
    assert (tmp_path / "fx.png").is_file()


def test_a_wheel_works_outside_the_clone(tmp_path: Path, pip_fonts: tuple[Font, ...]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("gen", "train", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site, away = tmp_path / "site", tmp_path / "away"
    away.mkdir()
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (away / "words.txt").write_text("\n".join(small_charset().chars) + "\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(site), "CRNN_SHARDS_CACHE": str(tmp_path / "cache")}

    def python(*arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], cwd=away, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = "import gen; from gen.charset import load_charset; print(gen.__file__, len(load_charset(None)))"
    where, count = python("-c", code).split()
    assert Path(where).is_relative_to(site)
    assert count == "30656"
    sets = ["--config", "gen-classic", "--charset", "words.txt", "--fonts", str(pip_fonts[0].path)]
    python("-m", "gen", "--out", "shards", "--n", "40", *sets)
    assert (away / "shards/vertical/manifest.json").is_file()


@pytest.mark.parametrize("module", ["gen", "gen.cli", "gen.sample", "gen.engine", "tools.verify", "tools.report"])
def test_generation_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
