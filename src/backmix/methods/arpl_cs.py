"""ARPL with confusing samples: a generator draws images that the classifier should be unsure of."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from backmix.data.preprocess import MEAN, STD
from backmix.methods.arpl import ARPL
from backmix.methods.base import Images2Features, TrainingBatch
from backmix.methods.pooling import mean_squared_distance
from backmix.mixing.checks import check
from backmix.models.dual_batch_norm import add_second_batch_norm, use_branch


class ARPLCS(ARPL):
    """ARPL that also learns to be unsure of images from a DCGAN trained beside it.

    With H(x) = exp(mean_b sum_k q_k log q_k), q = softmax(||F - P_k||^2 / C) without ARPL's dot product, which is 1
    where the classifier is certain and 1 / K where it is not, and noise n, n':

    - the discriminator D minimises the cross-entropy of telling training images, as they are shown, from G(n);
    - the generator G minimises the cross-entropy of G(n) passing as real, plus confusing_weight * H(G(n));
    - the classifier minimises ARPL's loss on the images plus confusing_weight * H(G(n')).

    Generated images run through a second set of batch norms (`DualBatchNorm2d`), so that statistics of branch 0,
    which evaluation uses, never see them. Those of branch 1 see two batches a step, G(n) and G(n').
    Chen et al., "Adversarial reciprocal points learning for open set recognition", TPAMI 2022.

    Where this differs from the authors' release: all three take their step at once, from the same weights, instead of
    one after the other. Steps with an even number run as above, odd ones are plain ARPL, where the release alternates
    whole passes over the data; an epoch here has half as many steps of either kind as one of theirs. The generator's
    sigmoid gives 0..1, which is then normalised as the images are: by mean and deviation of the backbone's published
    weights, else by 0.5 and 0.25; the release does not normalise.

    Args:
        num_features: channels C of the feature map.
        num_classes: known classes K, at least 2.
        weight: of ARPL's margin term, 0 or more; 0.1 in the release.
        confusing_weight: of H (beta), 0 or more; 0.1 in the release.
        adversary_lr: learning rate of Adam (betas 0.5, 0.999) for G and D, above 0; 2e-4 in the release.
        noise: length of n; 100 in the release.

    Attributes:
        generator, discriminator: made by `prepare`, and saved with the weights.
        mean, std: (3, 1, 1), how pixels in 0..1 are normalised; set by `prepare`. Not saved: nothing is generated after
            training.

    Raises:
        ValueError: for fewer than two classes or options outside their range.
    """

    name: ClassVar[str] = "arpl-cs"
    partial_gradients: ClassVar[bool] = True
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        *,
        weight: float = 0.1,
        confusing_weight: float = 0.1,
        adversary_lr: float = 2e-4,
        noise: int = 100,
    ) -> None:
        super().__init__(num_features, num_classes, weight=weight)
        check(confusing_weight >= 0, f"{self.name}: confusing_weight is 0 or more; got {confusing_weight}")
        check(adversary_lr > 0, f"{self.name}: adversary_lr is above 0; got {adversary_lr}")
        check(noise >= 1, f"{self.name}: noise is the length of a vector, at least 1; got {noise}")
        self.confusing_weight = confusing_weight
        self.adversary_lr = adversary_lr
        self.noise = noise
        self.generator: nn.Module | None = None
        self.discriminator: nn.Module | None = None
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def prepare(self, backbone: nn.Module, image_size: int) -> None:
        """Give the backbone its second batch norms, and build G and D for the next power of two above the side.

        Looks at the backbone's `mean` and `std`, those of its published weights, where it has them.
        """
        add_second_batch_norm(backbone)
        mean, std = getattr(backbone, "mean", None), getattr(backbone, "std", None)
        if mean and std:
            self.mean.copy_(torch.tensor(mean)[:, None, None])
            self.std.copy_(torch.tensor(std)[:, None, None])
        side = max(8, 1 << (image_size - 1).bit_length())
        self.generator = make_generator(self.noise, side)
        self.discriminator = make_discriminator(side)

    def own_optimizer(self) -> torch.optim.Optimizer:
        """Adam over G and D."""
        generator, discriminator = self._adversaries()
        parameters = [*generator.parameters(), *discriminator.parameters()]
        return torch.optim.Adam(parameters, lr=self.adversary_lr, betas=(0.5, 0.999))

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """One step: feature map of the batch, and the sum of all losses, each with gradient for its own part alone.

        Raises:
            RuntimeError: before `prepare`.
            TypeError: when the backbone is not a module.
        """
        _, discriminator = self._adversaries()
        if not isinstance(backbone, nn.Module):
            raise TypeError(f"{self.name} trains a backbone that is an nn.Module; got {type(backbone).__name__}")
        features, loss = super().training_loss(backbone, batch)
        if batch.step % 2:
            return features, loss
        fakes = self.generate(batch.images)
        loss = loss + _bce(discriminator(batch.images), 1) + _bce(discriminator(fakes.detach()), 0)
        loss = loss + _bce(run_frozen(discriminator, fakes), 1)
        with use_branch(backbone, 1):
            unsure = self.certainty(run_frozen(backbone, fakes), self.points.detach())
            # Not under no_grad: autocast would keep the generator's rounded weights without gradient for later.
            unsure = unsure + self.certainty(backbone(self.generate(batch.images).detach()), self.points)
        return features, loss + self.confusing_weight * unsure

    def generate(self, images: Tensor) -> Tensor:
        """As many generated images as are given, of the same size: (B, 3, H, W) -> (B, 3, H, W) float32, normalised.

        They lie in `(0 - mean) / std`..`(1 - mean) / std`, without published weights -2..2. Noise comes from torch's
        global generator.
        """
        generator, _ = self._adversaries()
        noise = torch.randn(len(images), self.noise, 1, 1, device=images.device)
        pixels = cast(Tensor, generator(noise)).float()
        if pixels.shape[2:] != images.shape[2:]:
            pixels = F.interpolate(pixels, images.shape[2:], mode="bilinear", antialias=True)
        return (pixels - self.mean) / self.std

    def certainty(self, features: Tensor, points: Tensor) -> Tensor:
        """H of feature maps (B, C, h, w) with reciprocal points (K, C): a scalar, 1 / K unsure .. 1 certain."""
        self.check_features(features)
        log_q = mean_squared_distance(features.float().mean((2, 3)), points).log_softmax(1)
        return (log_q.exp() * log_q).sum(1).mean().exp()

    def _adversaries(self) -> tuple[nn.Module, nn.Module]:
        if self.generator is None or self.discriminator is None:
            raise RuntimeError(f"{self.name} has no generator yet: call prepare(backbone, image_size) first")
        return self.generator, self.discriminator


def make_generator(noise: int, side: int) -> nn.Sequential:
    """DCGAN generator (Radford et al., ICLR 2016): noise (B, noise, 1, 1) -> (B, 3, side, side) in 0..1.

    From 4x4 on every layer doubles the side, a power of two from 8 on; 64 channels before the last layer, twice as
    many before each one above it, at most 512.
    """
    widths = _widths(side)[::-1]
    layers: list[nn.Module] = [nn.ConvTranspose2d(noise, widths[0], 4, bias=False)]
    for inputs, outputs in pairwise(widths):
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
    last = nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False)
    return _initialised(nn.Sequential(*layers, nn.BatchNorm2d(widths[-1]), nn.ReLU(), last, nn.Sigmoid()))


def make_discriminator(side: int) -> nn.Sequential:
    """DCGAN discriminator: images (B, 3, H, W) -> logits (B, 1) of being real.

    Its last map, 4x4 for images of `side`, is averaged, so that images shown smaller also fit.
    """
    widths = _widths(side)
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
    return _initialised(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 1)))


def run_frozen(network: nn.Module, images: Tensor) -> Tensor:
    """Run a network so that gradients reach the images but not its weights; running statistics move as ever."""
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    return cast(Tensor, functional_call(network, weights, (images,)))


def _widths(side: int) -> list[int]:
    return [min(64 << depth, 512) for depth in range(side.bit_length() - 3)]


def _initialised(network: nn.Sequential) -> nn.Sequential:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return network


def _bce(logits: Tensor, target: int) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, target, dtype=torch.float32))
