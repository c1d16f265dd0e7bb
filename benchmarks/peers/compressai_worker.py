"""Time CompressAI's decoders; run by the Python of the peer's environment, never imported by fastlic.

Knows CompressAI and PyTorch; knows nothing of fastlic. Speaks JSON, one object a line: a request on standard input, its
answer on standard output.

    {"do": "prepare", "name", "pictures": [PNG, ...], "threads": N}  ->  {"bytes": [...], "version": TEXT}
    {"do": "decode", "file": NUMBER}                                 ->  {"wall": SECONDS, "processor": SECONDS}

Pictures are padded to multiples of 64 by repeating their last row and column, as these models need.

No trained weights are needed for a time, but the symbols must be as many and as likely as those of a trained model at a
low rate, since the range coder's work depends on them. So the weights are random (seeded) and the statistics set:
latent channel c of M gets a scale s_c = S * 2^(-c * 12 / M), from frequent large values to almost always zero; the
encoder's last layer is followed by an affine map that gives its output that standard deviation over the pictures, the
last layer of the entropy parameters predicts s_c (up to a small random modulation), and S is searched for a mean of
TARGET_BPP bits per pixel over the first pictures. Decoding runs the unchanged architecture.
"""

from __future__ import annotations

import json
import sys
import time
import types
from pathlib import Path
from typing import Any

# CompressAI imports torchvision for the names of its picture transforms only, none of which is used here.
for _name in ("torchvision", "torchvision.transforms"):
    sys.modules.setdefault(_name, types.ModuleType(_name))
sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]

import compressai  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from compressai import models  # noqa: E402
from compressai.entropy_models import EntropyBottleneck  # noqa: E402
from PIL import Image  # noqa: E402
from torch import Tensor, nn  # noqa: E402

TARGET_BPP = 0.3
OCTAVES = 12.0
"""Binary logarithm of the ratio between the largest and the smallest scale of a channel."""
SEARCHED = 2
"""Pictures that the rate is searched on."""

# Widths of CompressAI's own low-rate models (zoo, qualities 1 to 4 and 1 to 3), and with 192 of its high-rate ones;
# ELIC has one width only.
ARCHITECTURES = {
    "mbt2018-mean": lambda: models.MeanScaleHyperprior(N=128, M=192),
    "mbt2018-mean-192": lambda: models.MeanScaleHyperprior(N=192, M=320),
    "cheng2020-checkerboard": lambda: models.Cheng2020AnchorCheckerboard(N=128),
    "cheng2020-checkerboard-192": lambda: models.Cheng2020AnchorCheckerboard(N=192),
    "elic2022": lambda: models.Elic2022Official(N=192, M=320),
}


class Affine(nn.Module):
    """Gives each channel zero mean and a chosen deviation; follows an encoder, so it costs no decoding time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("shift", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        return (x + self.shift[:, None, None]) * self.scale[:, None, None]

    def fit(self, outputs: list[Tensor], deviations: Tensor) -> None:
        """Fit to what comes in: `outputs` are (1, C, h, w), `deviations` (C,)."""
        flat = torch.cat([output[0].flatten(1) for output in outputs], 1)
        self.shift = -flat.mean(1)
        self.scale = deviations / flat.std(1).clamp(min=1e-12)


class Parts:
    """Where in an architecture the statistics are set."""

    def __init__(self, model: Any) -> None:
        codec = getattr(model, "latent_codec", None)
        self.model = model
        if codec is None:
            self.hyper_encoder = model.h_a
            self.last_layers: list[nn.Conv2d] = [model.h_s[-1]]
        else:
            hyper, y = codec["hyper"], codec["y"]
            self.hyper_encoder = hyper.h_a
            groups = [y] if hasattr(y, "entropy_parameters") else list(y.latent_codec.values())
            self.last_layers = [_last_convolution(group.entropy_parameters) for group in groups]
        rows = [layer.weight.detach().flatten(1) for layer in self.last_layers]
        self.directions = [row / row.norm(dim=1, keepdim=True) for row in rows]

    def replace(self, y_affine: Affine, z_affine: Affine, prior: EntropyBottleneck) -> None:
        """Append the maps to both encoders and take a narrower prior of the hyper latent."""
        self.model.g_a = nn.Sequential(self.model.g_a, y_affine)
        hyper = nn.Sequential(self.hyper_encoder, z_affine)
        codec = getattr(self.model, "latent_codec", None)
        if codec is None:
            self.model.h_a, self.model.entropy_bottleneck = hyper, prior
        else:
            codec["hyper"].h_a, codec["hyper"].entropy_bottleneck = hyper, prior

    def predict(self, scales: Tensor) -> None:
        """Let the entropy parameters say `scales` (M,) and mean 0, each moved by about a tenth of the scale."""
        first = 0
        for layer, directions in zip(self.last_layers, self.directions, strict=True):
            half = layer.out_channels // 2
            here = scales[first : first + half]
            with torch.no_grad():
                layer.weight.copy_((0.1 * here.repeat(2)[:, None] * directions).view_as(layer.weight))
                layer.bias = nn.Parameter(torch.cat((here, torch.zeros(half))))
            first += half


def _last_convolution(network: nn.Module) -> nn.Conv2d:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]


def calibrated(name: str, pictures: list[Tensor]) -> tuple[Any, list[dict], list[int]]:
    """Make a model whose files have TARGET_BPP on average.

    Args:
        name: key of ARCHITECTURES.
        pictures: (1, 3, H, W) float32 in [0, 1], sides multiples of 64.

    Returns:
        The model, and per picture what `decompress` takes and its bytes.
    """
    torch.manual_seed(2023)
    model: Any = ARCHITECTURES[name]().eval()
    parts = Parts(model)
    latents = [model.g_a(picture) for picture in pictures[:SEARCHED]]
    hyper_latents = [parts.hyper_encoder(latent) for latent in latents]
    channels, hyper_channels = latents[0].shape[1], hyper_latents[0].shape[1]
    y_affine, z_affine = Affine(channels), Affine(hyper_channels)
    parts.replace(y_affine, z_affine, EntropyBottleneck(hyper_channels, init_scale=1))
    model.eval()
    shape = 2.0 ** (-OCTAVES * torch.arange(channels) / channels)
    low, high = 0.01, 1000.0
    for _ in range(12):
        largest = (low * high) ** 0.5
        y_affine.fit(latents, largest * shape)
        z_affine.fit([parts.hyper_encoder(y_affine(latent)) for latent in latents], torch.full((hyper_channels,), 0.3))
        parts.predict((largest * shape).clamp(min=0.11))
        model.update(force=True)
        mean = float(np.mean([_bpp(model.compress(picture), picture) for picture in pictures[:SEARCHED]]))
        if abs(mean - TARGET_BPP) < 0.01 * TARGET_BPP:
            break
        low, high = (largest, high) if mean < TARGET_BPP else (low, largest)
    files = [model.compress(picture) for picture in pictures]
    return model, files, [_size(file["strings"]) for file in files]


def _bpp(file: dict, picture: Tensor) -> float:
    return 8 * _size(file["strings"]) / picture[0, 0].numel()


def _size(strings: list) -> int:
    return sum(len(item) if isinstance(item, bytes) else _size(item) for item in strings)


def _load(path: str) -> Tensor:
    pixels = np.asarray(Image.open(Path(path)).convert("RGB"), np.float32) / 255
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    below, beside = (-size % 64 for size in picture.shape[2:])
    return nn.functional.pad(picture, (0, beside, 0, below), mode="replicate").contiguous()


@torch.inference_mode()
def main() -> None:
    """Answer requests until standard input ends."""
    model: Any = None
    files: list = []
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "prepare":
            torch.set_num_threads(request["threads"])
            model, files, sizes = calibrated(request["name"], [_load(path) for path in request["pictures"]])
            answer: dict[str, Any] = {
                "bytes": sizes,
                "version": f"compressai {compressai.__version__}, torch {torch.__version__}",
            }
        else:
            file = files[request["file"]]
            wall, processor = time.perf_counter(), time.process_time()
            model.decompress(file["strings"], file["shape"])["x_hat"]
            answer = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
