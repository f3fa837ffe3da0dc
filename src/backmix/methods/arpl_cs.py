"""ARPL with confusing samples: a generator makes images that the classifier should be uncertain about."""

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
    """ARPL that also learns to be uncertain about images from a DCGAN, which is trained at the same time.

    H(x) = exp(mean_b sum_k q_k log q_k) with q = softmax(||F - P_k||^2 / C), without ARPL's dot product. H is 1 if the
    classifier is certain, and 1 / K if it is not. n and n' are noise. Three networks are trained:

    - The discriminator D minimises the cross-entropy of the distinction between the training images, as they are shown,
      and G(n).
    - The generator G minimises the cross-entropy of G(n) being classified as real, plus confusing_weight * H(G(n)).
    - The classifier minimises ARPL's loss on the images, plus confusing_weight * H(G(n')).

    Generated images go through a second set of batch norms (`DualBatchNorm2d`). So the statistics of branch 0, which
    evaluation uses, never contain them. The statistics of branch 1 use two batches in each step, G(n) and G(n').

    Source: Chen et al., "Adversarial reciprocal points learning for open set recognition", TPAMI 2022. Differences from
    the authors' release:

    - All three networks make their step at the same time, from the same weights, not one after the other.
    - Steps with an even number run as above, and steps with an odd number are plain ARPL. The release alternates whole
      passes over the data. So an epoch here has half as many steps of each kind as an epoch of the release.
    - The generator's sigmoid gives pixels in 0..1, which are then normalised like the images: by the mean and standard
      deviation of the backbone's published weights, or else by 0.5 and 0.25. The release does not normalise.

    Args:
        num_features: The number of channels C of the feature map.
        num_classes: The number of known classes K, at least 2.
        weight: The weight of ARPL's margin term, 0 or more; 0.1 in the release.
        confusing_weight: The weight beta of H, 0 or more; 0.1 in the release.
        adversary_lr: The learning rate of Adam (betas 0.5, 0.999) for G and D, above 0; 2e-4 in the release.
        noise: The length of n, at least 1; 100 in the release.

    Attributes:
        generator: The generator G. `prepare` makes it, and it is saved with the weights.
        discriminator: The discriminator D. `prepare` makes it, and it is saved with the weights.
        mean: (3, 1, 1) mean by which pixels in 0..1 are normalised. `prepare` sets it. It is not saved, because nothing
            is generated after the training.
        std: (3, 1, 1) standard deviation by which pixels in 0..1 are normalised. `prepare` sets it; it is not saved.

    Raises:
        ValueError: If there are fewer than two classes, or an option is outside its range.
    """

    name: ClassVar[str] = "arpl-cs"
    on_pooled_features: ClassVar[bool] = False
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
        """Add the second batch norms to the backbone, and make G and D.

        The images of G and D have the next power of two as their side, at least `image_size` and at least 8. The
        backbone's `mean` and `std`, those of its published weights, are used if it has them.

        Args:
            backbone: The backbone.
            image_size: The side of the images in pixels.
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
        """Return Adam for the parameters of G and D."""
        generator, discriminator = self._adversaries()
        parameters = [*generator.parameters(), *discriminator.parameters()]
        return torch.optim.Adam(parameters, lr=self.adversary_lr, betas=(0.5, 0.999))

    def training_loss(self, backbone: Images2Features, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the feature map of the batch, and the sum of all losses.

        Each loss has gradients only for the network that it trains.

        Raises:
            RuntimeError: If `prepare` was not called.
            TypeError: If the backbone is not a module.
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
            # This does not use no_grad, because autocast would keep the generator's rounded weights without gradient.
            unsure = unsure + self.certainty(backbone(self.generate(batch.images).detach()), self.points)
        return features, loss + self.confusing_weight * unsure

    def generate(self, images: Tensor) -> Tensor:
        """Return as many generated images as given, of the same size: (B, 3, H, W) -> (B, 3, H, W) float32, normalised.

        Their range is `(0 - mean) / std`..`(1 - mean) / std`, which is -2..2 without published weights. The noise comes
        from torch's global generator.
        """
        generator, _ = self._adversaries()
        noise = torch.randn(len(images), self.noise, 1, 1, device=images.device)
        pixels = cast(Tensor, generator(noise)).float()
        if pixels.shape[2:] != images.shape[2:]:
            pixels = F.interpolate(pixels, images.shape[2:], mode="bilinear", antialias=True)
        return (pixels - self.mean) / self.std

    def certainty(self, features: Tensor, points: Tensor) -> Tensor:
        """Return H of feature maps (B, C, h, w) with reciprocal points (K, C): a scalar, 1 / K uncertain..1 certain."""
        self.check_features(features)
        log_q = mean_squared_distance(features.float().mean((2, 3)), points).log_softmax(1)
        return (log_q.exp() * log_q).sum(1).mean().exp()

    def _adversaries(self) -> tuple[nn.Module, nn.Module]:
        if self.generator is None or self.discriminator is None:
            raise RuntimeError(f"{self.name} has no generator yet: call prepare(backbone, image_size) first")
        return self.generator, self.discriminator


def make_generator(noise: int, side: int) -> nn.Sequential:
    """Make a DCGAN generator (Radford et al., ICLR 2016): noise (B, noise, 1, 1) -> (B, 3, side, side) in 0..1.

    The first layer gives a 4x4 map, and every following layer doubles the side. The map before the last layer has 64
    channels, and each map before that has twice as many as the next one, at most 512.

    Args:
        noise: The length of the noise.
        side: The side of the images, a power of two of at least 8.
    """
    widths = _widths(side)[::-1]
    layers: list[nn.Module] = [nn.ConvTranspose2d(noise, widths[0], 4, bias=False)]
    for inputs, outputs in pairwise(widths):
        layers += [nn.BatchNorm2d(inputs), nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
    last = nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False)
    return _initialised(nn.Sequential(*layers, nn.BatchNorm2d(widths[-1]), nn.ReLU(), last, nn.Sigmoid()))


def make_discriminator(side: int) -> nn.Sequential:
    """Make a DCGAN discriminator: images (B, 3, H, W) -> logits (B, 1) of being real.

    Its last map, 4x4 for images of `side`, is averaged, so that it also accepts images that are shown smaller.

    Args:
        side: The side of the images, a power of two of at least 8.
    """
    widths = _widths(side)
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
    return _initialised(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 1)))


def run_frozen(network: nn.Module, images: Tensor) -> Tensor:
    """Run a network so that gradients reach the images but not its weights. Running statistics change as usual."""
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
