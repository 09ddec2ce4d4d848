"""ONNX Runtime and torch say the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from small_set import font_files

from infer.export import export, main
from infer.onnx_backend import OnnxBackend
from infer.quantise import ends
from infer.recognizer import EXACT, PACKAGED
from infer.torch_backend import TorchBackend
from tests.conftest import small_charset
from tests.infer_weights import make_weights
from train.checkpoint import load_weights
from train.lite import Lite

ROOT = Path(__file__).parent.parent


def noise(lines: int, width: int) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (lines, 1, 32, width), np.uint8)


@pytest.mark.parametrize("stride", [4, 8])
def test_both_backends_agree_for_any_batch_and_width(tmp_path: Path, stride: int) -> None:
    export(make_weights(tmp_path / "w.pt", stride=stride), tmp_path / "w.onnx")
    fast = OnnxBackend(tmp_path / "w.onnx")
    slow = TorchBackend(tmp_path / "w.onnx", "cpu")  # of the same, rounded, numbers
    assert fast.codec == slow.codec
    only = np.arange(fast.codec.classes) % 3 == 1
    for lines, width, allowed in ((1, 32, None), (5, 320, None), (2, 1024, None), (3, 96, only)):
        a, b = (backend.run(noise(lines, width), allowed) for backend in (fast, slow))
        assert len(a.line)
        np.testing.assert_array_equal(a.line, b.line)
        np.testing.assert_array_equal(a.frame, b.frame)
        np.testing.assert_allclose(a.chances, b.chances, atol=1e-4)
        assert allowed is None or not a.chances[:, ~only].any()
        assert fast.frames(width) == slow.frames(width)


def test_a_line_without_ink_has_no_frames(tmp_path: Path) -> None:
    export(make_weights(tmp_path / "w.pt", blank=True), tmp_path / "w.onnx")
    found = OnnxBackend(tmp_path / "w.onnx").run(noise(2, 64), None)
    assert found.chances.shape == (0, len(small_charset()))


def test_what_runs_has_no_normalisations_and_half_the_bytes(tmp_path: Path) -> None:
    export(make_weights(tmp_path / "w.pt"), tmp_path / "w.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "w.onnx").graph.node}
    assert "BatchNormalization" not in kinds
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "w.onnx", options, providers=["CPUExecutionProvider"])
    halves = [t for t in onnx.load(tmp_path / "run.onnx").graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    assert not halves  # they were widened when it was loaded, not for each line


def test_8_bit_integers_read_nearly_the_same(tmp_path: Path) -> None:
    """Lines that mean nothing to a network nobody trained: half of its gates are near zero. What trained ones make of
    it: `test_infer_recognizer`."""
    weights = make_weights(tmp_path / "w.pt")
    export(weights, tmp_path / "w.onnx")
    export(weights, tmp_path / "w8.onnx", [noise(1, width) for width in (96, 320, 640)])
    a, b = (OnnxBackend(tmp_path / name).run(noise(4, 320), None) for name in ("w.onnx", "w8.onnx"))
    left, right = (
        {(line, frame): row for line, frame, row in zip(each.line.tolist(), each.frame.tolist(), each.chances)}
        for each in (a, b)
    )
    both = left.keys() & right.keys()
    assert len(both) > 0.6 * len(left.keys() | right.keys())
    chances = [np.concatenate([each[place] for place in sorted(both)]) for each in (left, right)]
    assert np.corrcoef(*chances)[0, 1] > 0.98
    only = np.arange(a.chances.shape[1]) % 3 == 1
    masked = OnnxBackend(tmp_path / "w8.onnx").run(noise(4, 320), only)
    assert masked.chances[:, only].any()
    assert not masked.chances[:, ~only].any()


def test_ends_and_sums_stay_in_single_precision() -> None:
    model = onnx.load(PACKAGED)
    made = {name: node for node in model.graph.node for name in node.output}
    whole = [node.input[1] for node in model.graph.node if node.op_type == "Conv" and node.input[1].endswith(".wide")]
    assert len([node for node in model.graph.node if node.op_type == "Conv"]) > 2 * len(whole) > 20
    net = load_weights(EXACT).net
    assert isinstance(net, Lite)
    assert all(name.startswith(ends(net)) for name in whole)
    sums = 0
    for node in model.graph.node:
        for name in node.input if node.op_type == "Add" else ():
            source = made.get(name)
            # What a block adds, or the first layer of a stage; never a sum.
            if source is not None and source.op_type == "DequantizeLinear":
                assert made[made[source.input[0]].input[0]].op_type == "Conv"
                sums += 1
    assert sums > 4


def test_8_bit_integers_do_not_depend_on_company(tmp_path: Path) -> None:
    export(make_weights(tmp_path / "w.pt"), tmp_path / "w8.onnx", [noise(1, 320)])
    backend = OnnxBackend(tmp_path / "w8.onnx")
    loud = np.where(noise(4, 320) > 127, 255, 0).astype(np.uint8)  # its numbers are larger than those of the others
    loud[2] = noise(1, 320) // 8 + 100
    together, alone = backend.run(loud, None), backend.run(loud[2:3], None)
    assert len(alone.line)
    mine = together.line == 2
    np.testing.assert_array_equal(together.frame[mine], alone.frame)
    np.testing.assert_allclose(together.chances[mine], alone.chances, rtol=1e-5)


def test_8_bit_integers_of_a_network_that_reads_nothing(tmp_path: Path) -> None:
    export(make_weights(tmp_path / "w.pt", blank=True), tmp_path / "blank.onnx", [noise(1, 64)])
    assert not len(OnnxBackend(tmp_path / "blank.onnx").run(noise(2, 64), None).line)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_weights(tmp_path / "w.pt")
    assert main(["--weight-path", str(tmp_path / "w.pt"), "--out", str(tmp_path / "new/m.onnx")]) == 0
    assert "bytes" in capsys.readouterr().out
    make_weights(tmp_path / "gru.pt", neck="gru")
    assert main(["--weight-path", str(tmp_path / "gru.pt"), "--out", str(tmp_path / "m.onnx")]) == 2
    assert "gru" in capsys.readouterr().err
    assert main(["--weight-path", str(tmp_path / "w.pt"), "--out", str(tmp_path / "m")]) == 2
    assert "make it end with .onnx" in capsys.readouterr().err
    assert main(["--weight-path", str(tmp_path / "none.pt"), "--out", str(tmp_path / "m.onnx")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["--weight-path", str(tmp_path / "w.pt"), "--out", str(tmp_path / "w.pt/m.onnx")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.onnx"]
    assert main(["--weight-path", str(tmp_path / "w.pt"), "--out", str(tmp_path / "m.onnx"), "--fonts", "f"]) == 2
    assert "for --int8" in capsys.readouterr().err


def test_ranges_come_from_the_data_that_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_weights(tmp_path / "w.pt")
    out, fonts = tmp_path / "m8.onnx", ["--fonts", *font_files()]
    arguments = ["--weight-path", str(tmp_path / "w.pt"), "--out", str(out), "--int8"]
    assert main([*arguments, *fonts, "--data", "gen:gen-default"]) == 0
    kinds = {node.op_type for node in onnx.load(out).graph.node}
    assert {"QuantizeLinear", "MatMulIntegerToFloat"} <= kinds
    first = out.read_bytes()
    assert main([*arguments, *fonts, "--data", "gen:gen-classic"]) == 0
    assert out.read_bytes() != first
    assert main([*arguments, "--data", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_reading_a_model_imports_no_torch(tmp_path: Path) -> None:
    export(make_weights(tmp_path / "w.pt"), tmp_path / "w.onnx")
    code = (
        "import sys, numpy; from infer import Recognizer; r = Recognizer.load(sys.argv[1]); "
        "r.read([numpy.zeros((32, 64), 'u1')]); assert not {'torch', 'numba', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "w.onnx")], cwd=ROOT, check=True)
