"""Measure how well each foreground source estimates the foreground, by comparison with true masks.

The sources are `saliency`, `grabcut` (which starts from the saliency map), `grabcut box` (which starts from a margin),
`pretrained` (only if the weights of EfficientNet-lite0 are there) and `attention` (only if its weights are in the cache
of the Hugging Face hub: nothing is downloaded). They must beat three baselines: `centre` (the quarter of the picture
nearest to its middle), `random` (a quarter of the pixels, chosen by smooth noise) and `all` (the whole picture).

Maps of EfficientNet-lite0 by itself, each with Otsu's threshold, show what the network knows alone, at 224 px unless
another size is named, or at output stride 16 (dilated convolutions in the last two stages, so 14x14 cells):

- lite0 classes: The evidence of its own head for its 20 most probable ImageNet classes, by their probability.
- lite0 label: The evidence for the true label of a head that is fitted on the pooled features of all images of the
  measured split, as a training has it before its first epoch. This row alone knows labels.
- lite0 energy: The norm of the features in the last stage (7x7 cells).
- lite0 contrast: The first principal component of the cells of the stage before (14x14 cells).
- lite0 contrast x energy: The product of the last two, which `pretrained` adds to the cues of `saliency`.

- iou: The intersection over union with the true mask, as the mean over images. It is taken on the central square at
  the size that a network sees: 32 px for the digits, 128 px for photographs. Unlabelled pixels of MSRC count as
  background, as they do in training.
- over_saliency: The mean difference in IoU from `saliency` on the same images, and its standard error.
- pointing: The share of images in which the maximum of the soft map lies on the object. If there is no map, the pixel
  of the mask nearest to its centroid is taken instead.
- ms: The median processor time of one image at its own size; the last columns give one photograph at 32 and 224 px.

The constants of the sources were set on the training digits and on the first half of the training split of the
photographs. The images measured here are the test digits, and evenly spread images of the second half.

Run: python benchmarks/foregrounds.py [--data FOLDER] [--images 200] [--json FILE] [--sheet FILE.png]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table

from backmix.data.load import load_source
from backmix.data.preprocess import Preprocess
from backmix.data.source import ImageSource
from backmix.data.square import central_square
from backmix.foregrounds import (
    AttentionForeground,
    GrabCutForeground,
    MissingWeightsError,
    PretrainedForeground,
    SaliencyForeground,
)
from backmix.foregrounds.base import ForegroundSource, Pixels, Segmentation
from backmix.foregrounds.centre import centre_mask, centre_prior
from backmix.foregrounds.pretrained import IMAGE_SIZE, MODEL, principal_component
from backmix.mixing.cam import class_activation_map, scale_map

PHOTOGRAPHS = ("leeds-butterfly", "msrc-v2-objects", "eth80")


class Centre(ForegroundSource):
    name = "centre"

    def segment(self, pixels: Pixels) -> Segmentation:
        size = pixels.shape[:2]
        return Segmentation(centre_prior(*size).astype(np.float32), centre_mask(*size))


class Random(ForegroundSource):
    name = "random"

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def segment(self, pixels: Pixels) -> Segmentation:
        noise = torch.rand(1, 1, 8, 8, generator=self.generator)
        soft = F.interpolate(noise, size=pixels.shape[:2], mode="bilinear")[0, 0].numpy()
        return Segmentation(soft, soft > np.quantile(soft, 0.75))


class Whole(ForegroundSource):
    name = "all"

    def segment(self, pixels: Pixels) -> Segmentation:
        whole = np.ones(pixels.shape[:2], dtype=bool)
        return Segmentation(np.ones(whole.shape, dtype=np.float32), whole)

    def estimate(self, picture: Image.Image) -> np.ndarray:  # Skips the check that the mask is plausible.
        return np.ones((picture.height, picture.width), dtype=bool)


class NetworkMap(ForegroundSource):
    """A map of EfficientNet-lite0 alone, with Otsu's threshold."""

    def __init__(self, kind: str, size: int = IMAGE_SIZE, stride: int = 32) -> None:
        super().__init__(working_size=size)
        import timm

        from backmix.models.published import in_hub_cache, installed_weights, load_package_weights

        self.name = self.kind = kind
        stored = in_hub_cache(MODEL)
        if not stored and installed_weights(MODEL) is None:
            raise MissingWeightsError(MODEL)
        self.network = timm.create_model(MODEL, pretrained=stored, output_stride=stride).eval().requires_grad_(False)
        if not stored:
            load_package_weights(MODEL, self.network)
        self.weight, self.label = torch.zeros(1, 1), 0

    def learn(self, images: ImageSource) -> None:
        """Fit the head of `lite0 label` on all images of a source."""
        if self.kind != "label":
            return
        from sklearn.linear_model import LogisticRegression

        pooled = [
            self.features([self._pixels(images.read(i)) for i in part.tolist()])[-1].mean((2, 3))
            for part in torch.arange(len(images)).split(16)
        ]
        head = LogisticRegression(max_iter=300).fit(torch.cat(pooled).numpy(), images.labels.numpy())
        self.weight = torch.from_numpy(head.coef_).float()

    @torch.no_grad()
    def features(self, batch: list[Pixels]) -> list[torch.Tensor]:
        """Return the cells of the stages of `pretrained`, and those before the pooling."""
        size = (self.working_size, self.working_size)
        squares = [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BILINEAR)) for each in batch]
        images = (torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2) - 127.0) / 128
        fine = self.network.blocks[:5](self.network.bn1(self.network.conv_stem(images)))
        coarse = self.network.blocks[5:](fine)
        return [fine, coarse, self.network.bn2(self.network.conv_head(coarse))]

    def segment(self, pixels: Pixels) -> Segmentation:
        from skimage.filters import threshold_otsu

        fine, coarse, last = self.features([pixels])
        contrast, energy = scale_map(principal_component(fine)), scale_map(coarse.norm(dim=1))
        if self.kind == "classes":
            chance, classes = self.network.classifier(last.mean((2, 3))).softmax(1).topk(20)
            weight = (chance[..., None] * self.network.classifier.weight[classes]).sum(1)
            found = class_activation_map(last, weight, torch.zeros(1, dtype=torch.int64))
        elif self.kind == "label":
            found = class_activation_map(last, self.weight, torch.tensor([self.label]))
        else:
            small = F.interpolate(energy[:, None], size=contrast.shape[1:], mode="bilinear")[:, 0]
            both = scale_map(small * contrast)
            found = {"energy": energy, "contrast": contrast, "contrast x energy": both}[self.kind]
        soft = F.interpolate(found[None], size=pixels.shape[:2], mode="bilinear")[0, 0].clamp(0, 1).numpy()
        return Segmentation(soft, soft > threshold_otsu(soft) if soft.max() > soft.min() else soft > 1)


def make_sources() -> tuple[dict[str, ForegroundSource], dict[str, str]]:
    """Return the sources, and the reason for each source that is absent."""
    makers: dict[str, Callable[[], ForegroundSource]] = {
        "all": Whole,
        "random": Random,
        "centre": Centre,
        "saliency": SaliencyForeground,
        "grabcut": GrabCutForeground,
        "grabcut box": lambda: GrabCutForeground(start="box"),
        "attention": AttentionForeground,
        "pretrained": PretrainedForeground,
    }
    for kind in ("classes", "label", "energy", "contrast", "contrast x energy"):
        makers[f"lite0 {kind}"] = partial(NetworkMap, kind)
    for kind in ("label", "energy", "contrast x energy"):
        makers[f"lite0 {kind}, 320 px"] = partial(NetworkMap, kind, 320)
    makers["lite0 label, stride 16"] = partial(NetworkMap, "label", stride=16)
    sources, absent = {}, {}
    for name, make in makers.items():
        try:
            sources[name] = make()
        except MissingWeightsError:
            absent[name] = "the weights are not in the cache"
    return sources, absent


def nearest_to_centroid(mask: np.ndarray) -> tuple[int, int]:
    places = np.argwhere(mask)
    return tuple(places[np.square(places - places.mean(0)).sum(1).argmin()])


def point(soft: np.ndarray, mask: np.ndarray) -> tuple[int, int]:
    """Return the pixel where the map is highest; of several such pixels, the one nearest to their centroid."""
    return nearest_to_centroid(mask if soft.max() == soft.min() else soft == soft.max())


def measure(
    estimator: ForegroundSource, images: ImageSource, positions: list[int], size: int
) -> tuple[dict[str, float], list[np.ndarray], np.ndarray]:
    """Return the figures of a source on some images, its masks, and the IoU of each."""
    preprocess = Preprocess(size)
    overlaps, hits, times, masks = [], [], [], []
    if isinstance(estimator, NetworkMap):
        estimator.learn(images)
    for i in positions:
        picture = images.read(i)
        if isinstance(estimator, NetworkMap):
            estimator.label = int(images.labels[i])
        true = preprocess.decode_mask(images.read_mask(i)).numpy()
        begin = time.process_time()
        mask = estimator.estimate(picture)
        times.append(time.process_time() - begin)
        found = preprocess.decode_mask(Image.fromarray(mask.astype(np.uint8) * 255)).numpy()
        soft = central_square(Image.fromarray(estimator.saliency(picture)), size)
        union = (found | true).sum()
        overlaps.append(float((found & true).sum() / union) if union else 1.0)
        hits.append(bool(true[point(np.asarray(soft), found)]))
        masks.append(found)
    figures = {"iou": statistics.mean(overlaps), "iou_standard_error": np.std(overlaps) / len(overlaps) ** 0.5}
    figures |= {"pointing": statistics.mean(hits), "ms": 1000 * statistics.median(times)}
    return figures, masks, np.array(overlaps)


def milliseconds(estimator: ForegroundSource, picture: Image.Image, rounds: int = 7) -> float:
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        estimator.estimate(picture)
        times.append(time.process_time() - begin)
    return 1000 * statistics.median(times)


def load_sets(data: Path | None, count: int) -> dict[str, tuple[ImageSource, list[int], int]]:
    """Return name -> (images, positions, size) for images that the sources were not tuned on."""
    sets = {"digits": (load_source("digits:prior=0.8", "test"), 0, 32)}
    for name in PHOTOGRAPHS:
        if data is not None and (data / name).exists():
            source = load_source(data / name, "train")
            sets[name] = (source, len(source) // 2, 128)
    spread = {}
    for name, (source, first, size) in sets.items():
        places = np.linspace(first, len(source) - 1, min(count, len(source) - first))
        spread[name] = (source, [int(i) for i in places], size)
    return spread


def contact_sheet(rows: list[list[np.ndarray]], side: int = 96) -> Image.Image:
    """Return one picture of rows of (h, w) bool masks and (h, w, 3) pictures."""
    sheet = Image.new("RGB", (max(map(len, rows)) * (side + 4), len(rows) * (side + 4)), "white")
    for row, line in enumerate(rows):
        for column, tile in enumerate(line):
            pixels = tile if tile.ndim == 3 else np.repeat(tile[..., None].astype(np.uint8) * 255, 3, 2)
            picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(picture, (column * (side + 4), row * (side + 4)))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = os.environ.get("BACKMIX_DATA")
    parser.add_argument("--data", type=Path, default=Path(folder) if folder else None, help="or $BACKMIX_DATA")
    parser.add_argument("--images", type=int, default=200, help="of each set, at most")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, help="picture to look at: images, true masks, estimates")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sources, absent = make_sources()
    sets = load_sets(args.data, args.images)
    result = {"sets": {}, "absent": absent, "ms": {}}
    tiles: list[list[np.ndarray]] = []
    for name, (images, positions, size) in sets.items():
        preprocess, entry = Preprocess(size), {}
        shown = list(range(0, len(positions), max(1, len(positions) // 8)))[:8]
        lines = [
            [
                preprocess.decode(images.read(positions[k])).permute(1, 2, 0).numpy(),
                preprocess.decode_mask(images.read_mask(positions[k])).numpy(),
            ]
            for k in shown
        ]
        overlaps = {}
        for source, estimator in sources.items():
            entry[source], masks, overlaps[source] = measure(estimator, images, positions, size)
            for line, k in zip(lines, shown, strict=True):
                line.append(masks[k])
        for source, each in overlaps.items():
            gain = each - overlaps["saliency"]
            entry[source]["over_saliency"] = float(gain.mean())
            entry[source]["over_saliency_standard_error"] = float(gain.std() / len(gain) ** 0.5)
        tiles += lines
        result["sets"][name] = {"images": len(positions), "image_size": size, "sources": entry}
    picture = sets[PHOTOGRAPHS[0]][0].read(0) if PHOTOGRAPHS[0] in sets else sets["digits"][0].read(0)
    for source, estimator in sources.items():
        result["ms"][source] = {side: milliseconds(estimator, picture.resize((side, side))) for side in (32, 224)}
    table = Table(title="foreground against true masks: IoU, pointing")
    for heading in ("source", *sets, "ms at 32 px", "ms at 224 px"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for source in sources:
        figures = [result["sets"][name]["sources"][source] for name in sets]
        cells = [f"{f['iou']:.3f} / {f['pointing']:.2f}" for f in figures]
        table.add_row(source, *cells, *(f"{result['ms'][source][side]:.1f}" for side in (32, 224)))
    console = Console()
    console.print(table)
    for source, reason in absent.items():
        console.print(f"{source}: absent, {reason}")
    if args.sheet:
        contact_sheet(tiles).save(args.sheet)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
