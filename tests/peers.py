"""Stand-ins for the packages of other readers, which CI does not download: the workers are the real ones."""

from __future__ import annotations

import sys

from tools.bench_infer_peers import WORKER

# Each says how many grey levels there are, so that an answer belongs to its image.
CODE = """
import sys, types
sys.path.insert(0, {tools!r})
class RapidOCR:
    def __init__(self, params):
        assert params["EngineConfig.onnxruntime.intra_op_num_threads"] == 1
    def __call__(self, image, use_det, use_cls, use_rec):
        assert (use_det, use_cls, use_rec) == (False, False, True)
        return types.SimpleNamespace(txts=(str(len(set(image.ravel().tolist()))),) if image.any() else None)
class DdddOcr:
    def __init__(self, show_ad, beta):
        assert not show_ad
        self.mark = "b" if beta else ""
    def classification(self, image):
        return self.mark + str(len(image.getcolors()))
sys.modules["rapidocr"] = types.SimpleNamespace(RapidOCR=RapidOCR)
sys.modules["ddddocr"] = types.SimpleNamespace(DdddOcr=DdddOcr)
import bench_infer_peer
bench_infer_peer.main()
"""


def stand_in(name: str) -> list[str]:
    """What starts a peer's worker in place of `tools.bench_infer_peers.command`."""
    return [sys.executable, "-c", CODE.format(tools=str(WORKER.parent)), name]
