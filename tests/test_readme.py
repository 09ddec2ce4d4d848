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
import torch
from infer_weights import make_weights
from PIL import Image
from service import service
from torch.distributed.run import get_args_parser as torchrun_parser

from gen.cli import parser as gen_parser
from gen.fonts import Font
from infer.server import parser as server_parser
from tests.conftest import HAN, small_charset
from train.cli import parser as train_parser
from train.crnn import Crnn

ROOT = Path(__file__).parent.parent
SMALL = {"--n": "48", "--num": "16", "--rounds": "1", "--lines": "12"}
CHARSET = ("--charset", "my_words.txt")
# Two steps of a network that is as deep as the packaged one, but thin.
BRIEF = ("--steps", "2", "--set", "data.val=8", "--set", "data.workers=0", "--set", "model.widths=[8,8,8,16]")


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


def test_commands_of_clusters_have_flags_that_exist() -> None:
    blocks = [
        re.findall(r"```(?:bash|yaml)\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
        for name in ("README.md", "README.zh-CN.md")
    ]
    ours, theirs = ([re.sub(r"\s+#.*", "", block) for block in each] for each in blocks)
    assert ours == theirs
    gen = re.findall(r"python -m gen ([^'\"\n]*)", "\n".join(ours))
    assert len(gen) == 3
    for flags in gen:
        gen_parser().parse_args(shlex.split(flags))
    (torchrun,) = re.findall(r"torchrun (.*)", "\n".join(ours))
    args = torchrun_parser().parse_args(shlex.split(torchrun))
    assert (args.module, args.training_script) == (True, "train")
    train_parser().parse_args(args.training_script_args)


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


def environment_of(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "CRNN_SHARDS_CACHE": str(folder / "cache")}


def run(command: str | list[str], folder: Path) -> str:
    """What a command prints that ends well."""
    shell = isinstance(command, str)
    done = subprocess.run(
        command, cwd=folder, env=environment_of(folder), capture_output=True, text=True, shell=shell,
        executable="/bin/bash" if shell else None,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_command_runs(tmp_path: Path, pip_fonts: tuple[Font, ...]) -> None:
    """All but what reads, in an empty folder, with 48 images instead of millions.

    The small charset stands in for the packaged one where a command names none, so that glyphs are drawn in seconds.
    """
    (tmp_path / "my_words.txt").write_text("\n".join(small_charset().chars) + "\n", encoding="utf-8")
    more = small_charset().chars + "鑫淼"
    (tmp_path / "all_and_new.txt").write_text("\n".join(more) + "\n", encoding="utf-8")
    (tmp_path / "new.txt").write_text("鑫\n淼\n", encoding="utf-8")
    (tmp_path / "novel.txt").write_text(f"{HAN[:20]}\n{HAN[20:60]}\n", encoding="utf-8")
    for folder in ("my-fonts", "new-fonts"):
        (tmp_path / folder).mkdir()
        shutil.copy(pip_fonts[0].path, tmp_path / folder)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    make_foreign_data(tmp_path)
    for command in commands("README.md"):
        if command.startswith("make") or "curl" in command or "-m infer" in command:
            continue
        words = shlex.split(command)
        if words[0] == "torchrun":
            if "--nnodes" in words:  # needs two machines: its flags at least are ours
                train_parser().parse_args(words[words.index("train") + 1 :])
                continue
            words = ["python", "-m", "torch.distributed.run", "--nproc-per-node", "2", *words[3:]]
        assert words[0] == "python", command
        words = [SMALL.get(before, word) for before, word in zip(["", *words], words)]
        if "train" in words:
            words += [*BRIEF, "--device", "cpu"]
            words += [] if "--charset" in words or not any("gen:" in word for word in words) else [*CHARSET]
        if (
            words[2] in ("gen", "tools.preview", "tools.import_lines")
            and "--charset" not in words
            and "--finish" not in words
        ):
            words += CHARSET
        if words[2] == "tools.bench_loader":  # there is one small shard
            words += ["--workers", "1", "--rounds", "1", "--batch", "12", "--samples", "480"]
        if words[2] == "tools.eval_matrix":  # the packaged weights would want all glyphs drawn
            words += ["--weight-path", "runs/both/weights.pt", "--fonts", str(pip_fonts[0].path)]
        if "--slice" in words:  # one machine plays all of them
            words[words.index("0/16")] = "0/1"
        run([sys.executable, *words[1:]], tmp_path)
    assert (tmp_path / "shards/horizontal/manifest.json").is_file()
    assert (tmp_path / "shards/report.html").is_file()
    assert (tmp_path / "fx.png").is_file()


def test_every_command_reads(tmp_path: Path) -> None:
    (tmp_path / "infer").symlink_to(ROOT / "infer")
    (tmp_path / "runs/both").mkdir(parents=True)
    make_images(tmp_path)
    make_weights(tmp_path / "runs/both/weights.pt")
    for command in commands("README.md"):
        if "-m infer.server" in command:
            server_parser().parse_args(shlex.split(command)[3:])
        elif "-m infer" in command:
            run(re.sub(r"\bpython\b", sys.executable, command), tmp_path)
    assert len((tmp_path / "lines.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert (tmp_path / "both.onnx").is_file()


def make_images(folder: Path) -> None:
    """Two lines, alone and in a folder, and random weights as the older project saves them."""
    (folder / "scans").mkdir()
    for name, sample in (("line", "horizontal-0"), ("column", "vertical-0")):
        for place in (folder, folder / "scans"):
            shutil.copy(ROOT / f"infer/samples/{sample}.png", place / f"{name}.png")
    (folder / "their_all_words.txt").write_text("\n".join(small_charset().chars) + "\n", encoding="utf-8")
    for name, direction in (("H", "horizontal"), ("V", "vertical")):
        torch.save({"model": Crnn(len(small_charset()), direction).state_dict()}, folder / f"{name}.pth")


def test_what_is_read_is_what_is_shown() -> None:
    found = run([sys.executable, "-m", "infer", "infer/samples/"], ROOT)
    for name in ("README.md", "README.zh-CN.md"):
        shown = (ROOT / name).read_text(encoding="utf-8")
        block = re.findall(r"```text\n(image_path.*?)```", shown, re.DOTALL)[0]
        rows = re.findall(r"\| !\[\]\((.*?)\) \| (.*) \|", shown)
        columns = re.findall(r'<img src="(.*?)"', shown)
        assert "".join(f"image_path:{path},label:{text}\n" for path, text in rows) + block == found
        assert [line.split(",")[0] for line in block.splitlines()] == [f"image_path:{path}" for path in columns]


def test_the_service_answers_as_shown(tmp_path: Path) -> None:
    make_images(tmp_path)
    with service(tmp_path) as running:
        for command in commands("README.md"):
            if "curl" in command:
                told = run(
                    command.replace("http://127.0.0.1:5000", running.url).replace("curl", "curl -sS", 1), tmp_path
                )
                assert "雨後的石板路閃著微光" in told or "crnn_" in told


def test_python_reads_as_shown(tmp_path: Path) -> None:
    make_images(tmp_path)
    for name in ("README.md", "README.zh-CN.md"):
        (code,) = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
        assert "甲乙丙丁" in run([sys.executable, "-c", code], tmp_path)


def test_a_wheel_works_outside_the_clone(tmp_path: Path, pip_fonts: tuple[Font, ...]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("gen", "train", "infer", "tools", "configs"):
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
    python("-m", "tools.verify", "shards")  # as the line after generation says
    assert "label:甲乙丙丁" in python("-m", "infer", str(ROOT / "infer/samples/vertical-0.png"))
    assert (site / "infer/web/index.html").is_file()


@pytest.mark.parametrize("module", ["gen", "gen.cli", "gen.sample", "gen.engine", "tools.verify", "tools.report"])
def test_generation_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
