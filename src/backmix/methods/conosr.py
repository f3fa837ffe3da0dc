"""ConOSR: supervised contrastive learning with soft labels, followed by a classifier on frozen features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from backmix.methods.base import Images2Features, Method, TrainingBatch
from backmix.mixing.cam import scale_map
from backmix.mixing.checks import check


class ConOSR(Method):
    """Contrastive training on two views and their mixtures, followed by an MLP on frozen features.

    Source: Xu et al., "Contrastive open set recognition", AAAI 2023. One training does both stages of the paper:

    1. Up to the share `start`, the loss is `soft_contrastive_loss` of both views and of a mixup copy of each view. Both
       copies use the same share ~ Beta(1, 1) and the same order, and the smoothed labels are mixed in the same way. A
       spectrally normalised linear layer maps the pooled features to embeddings.
    2. After that, the backbone is frozen: it runs in evaluation mode, without gradient. The classifier, two spectrally
       normalised layers with a ReLU between them, learns with smoothed cross-entropy on the first view.

    Differences from the paper:

    - The backbone is frozen before the schedule ends. At the default `start`, a one-cycle schedule still has 37.5 % of
      its largest rate (cosine: a quarter). In the paper, the first stage has its own schedule that runs to the end. A
      later `start` makes this difference smaller, but leaves less time for the second stage.
    - If a training keeps averaged weights, as `backmix fit` does, the kept backbone is the average, of which about 12 %
      comes from before the freezing. The classifier learns on the frozen backbone.
    - The classifier also learns during the first stage, on detached features. Otherwise accuracy and evidence maps
      would have no meaning before the second stage. This does not affect the backbone, unless gradients are clipped,
      because clipping uses the norm of all gradients together.
    - The contrastive loss is the mean over anchors, not the sum as in the paper. For the paper's Adam this makes no
      difference, but it matters for the learning rates of other optimisers.
    - Both stages use one optimiser and one schedule (paper: 600 epochs of warm restarts, then 20 epochs at a tenth of
      the rate).

    Memory: the contrastive stage needs memory for four images per image of the batch.

    Args:
        num_features: The number of channels C of the feature map, and the width of the classifier's hidden layer.
        num_classes: The number of known classes K, at least 2.
        start: The share of the training, 0..1, after which the backbone is frozen.
        dim: The number of dimensions of the embeddings.
        temperature: The temperature of the contrastive loss, above 0.
        contrastive_smoothing: The smoothing e of the contrastive targets: 1 - e for the label, e / (K - 1) for each
            other class.
        label_smoothing: The smoothing e of the classifier's targets, in the same form.

    Raises:
        ValueError: If there are fewer than two classes, or an option is outside its range.
    """

    name: ClassVar[str] = "conosr"
    views: ClassVar[int] = 2
    partial_gradients: ClassVar[bool] = True

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        start: float = 0.7,
        dim: int = 128,
        temperature: float = 0.1,
        contrastive_smoothing: float = 0.2,
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__(num_features, num_classes)
        check(0 <= start <= 1, f"{self.name}: start is a share of the training, 0..1; got {start}")
        if dim < 1 or not temperature > 0:
            raise ValueError(
                f"{self.name} needs dim >= 1 and temperature > 0; got dim={dim}, temperature={temperature}"
            )
        highest = (num_classes - 1) / num_classes
        for option, value in (("contrastive_smoothing", contrastive_smoothing), ("label_smoothing", label_smoothing)):
            if not 0 <= value <= highest:
                raise ValueError(
                    f"{self.name}: {option} lies in 0..{highest:.3g} with {num_classes} classes; got {value}"
                )
        self.start, self.temperature = start, temperature
        self.contrastive_smoothing, self.label_smoothing = contrastive_smoothing, label_smoothing
        self.projection = spectral_norm(nn.Linear(num_features, dim))
        self.classifier = nn.Sequential(
            spectral_norm(nn.Linear(num_features, num_features)),
            nn.ReLU(),
            spectral_norm(nn.Linear(num_features, num_classes)),
        )

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the classifier's loss, without gradient to the features: (B, C, h, w), (B,) int64 -> scalar."""
        self.check(features, labels)
        smoothing = min(1.0, self.label_smoothing * self.num_classes / (self.num_classes - 1))
        return F.cross_entropy(self.logits(features.detach()), labels, label_smoothing=smoothing)

    def logits(self, features: Tensor) -> Tensor:
        """Return the class logits of the classifier: features (B, C, h, w) -> (B, K) float32."""
        self.check_features(features)
        return self._classify(features.float().mean((2, 3)))

    def unknown_score(self, features: Tensor) -> Tensor:
        """Return minus the largest logit: features (B, C, h, w) -> (B,) float32, higher = more unknown.

        The paper rejects images below the 5th percentile of their class. Here the threshold decides that.
        """
        return -self.logits(features).amax(1)

    @torch.no_grad()
    def evidence(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the label's logit of the classifier on each single cell: (B, C, h, w), (B,) -> (B, h, w) in 0..1."""
        self.check(features, labels)
        cells = self._classify(features.float().permute(0, 2, 3, 1))
        return scale_map(cells[torch.arange(len(cells), device=cells.device), :, :, labels])

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the feature map (B, C, h, w) of the first view, and the scalar loss.

        Raises:
            ValueError: If `batch.images` does not contain two views of the batch, one after the other.
        """
        size = len(batch.labels)
        if len(batch.images) != 2 * size:
            raise ValueError(
                f"{self.name} learns from two views of each image: {2 * size} images for {size} labels, "
                f"all first views before the second; got {len(batch.images)}"
            )
        if batch.progress >= self.start:
            with _standing_still(backbone):
                features = backbone(batch.images[:size])
            return features, batch.weighted(lambda labels: self.loss(features, labels))
        both = backbone(batch.images)
        targets = self._targets(batch)
        # These random numbers come from torch's global generators.
        share = float(torch.distributions.Beta(1.0, 1.0).sample())
        order = torch.randperm(size, device=targets.device)
        mixed_images = share * batch.images + (1 - share) * batch.images[torch.cat([order, order + size])]
        mixed_targets = share * targets + (1 - share) * targets[order]
        embeddings = torch.cat([self.embed(both), self.embed(backbone(mixed_images))])
        contrast = soft_contrastive_loss(
            embeddings, torch.cat([targets, targets, mixed_targets, mixed_targets]), self.temperature
        )
        features = both[:size]
        return features, contrast + batch.weighted(lambda labels: self.loss(features, labels))

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings of length 1: features (B, C, h, w) -> (B, dim) float32."""
        self.check_features(features)
        # Autocast would round the power iteration of the spectral normalisation.
        with torch.autocast(features.device.type, enabled=False):
            pooled = features.float().mean((2, 3)).to(cast(nn.Linear, self.projection).bias.dtype)
            return F.normalize(self.projection(pooled), dim=1)

    def _classify(self, rows: Tensor) -> Tensor:
        """Return the logits of the classifier: (..., C) float32 -> (..., K)."""
        with torch.autocast(rows.device.type, enabled=False):
            first = cast(nn.Linear, self.classifier[0])
            logits: Tensor = self.classifier(rows.to(first.bias.dtype))
            return logits

    def _targets(self, batch: TrainingBatch) -> Tensor:
        """Return smoothed one-hot rows of the labels, or of the mixed labels: (B, K) float32."""
        parts = batch.targets or ((batch.labels, 1.0),)
        chosen = torch.stack([weight * F.one_hot(labels, self.num_classes) for labels, weight in parts]).sum(0)
        e = self.contrastive_smoothing
        return (1 - e) * chosen + e / (self.num_classes - 1) * (1 - chosen)


def soft_contrastive_loss(embeddings: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss with soft labels (Xu et al., AAAI 2023), as the mean over anchors.

    The loss of anchor i is `- sum_j w_ij log(exp(v_i . v_j / t) / sum_a exp(v_i . v_a / t)) / sum_j w_ij`. The sums are
    over all j and a except i, and w_ij is the cosine of the target rows i and j.

    Args:
        embeddings: (N, D) float rows of length 1, N at least 2.
        targets: (N, K) float targets, at least 0; no row is all 0.
        temperature: The temperature t, above 0.

    Returns:
        The loss, a scalar float32.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        rows, targets = embeddings.float(), F.normalize(targets.float(), dim=1)
        similarity = rows @ rows.T / temperature
        itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
        weight = (targets @ targets.T).masked_fill(itself, 0.0)
        # Without smoothing, an anchor may have no other row with weight above 0. Its loss then counts as 0.
        return -((weight * log_share).sum(1) / weight.sum(1).clamp_min(1e-6)).mean()


@contextmanager
def _standing_still(backbone: Images2Features) -> Iterator[None]:
    """Run the backbone in evaluation mode without gradient, within the block."""
    modules = list(backbone.modules()) if isinstance(backbone, nn.Module) else []
    training = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, before in zip(modules, training, strict=True):
            module.training = before
