"""Detectors of pytorch-ood that use logits, pooled features or a linear head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from backmix.detectors.base import Detector
from backmix.detectors.linear_head import check_head, head_of, linear
from backmix.detectors.whitening import Whitening
from backmix.detectors.wrapped import WRAPPED, Looks, Wrapped
from backmix.errors import in_one_line
from backmix.methods.logit_scores import check_logits

if TYPE_CHECKING:
    from backmix.data.preprocess import Preprocess
    from backmix.methods import Method

CHUNK = 2**24  # The largest number of values in a (B, K, C) tensor, which some detectors make.


class PytorchOOD(Detector):
    """A detector of pytorch-ood (Kirchheim et al., CVPR workshops 2022), by its name in `WRAPPED`.

    The scores are the outlier scores of pytorch-ood, which also are higher = more unknown. The detector runs on the
    CPU.

    Args:
        name: The name of the detector, a key of `WRAPPED`.
        weight: (K, C) float weight of the linear head, for detectors that use one; None: `attach` takes it.
        bias: (K,) float bias of the linear head; None: zero.
        options: The options of pytorch-ood's class, see docs/detectors.md.

    Raises:
        ValueError: If pytorch-ood is not installed; the message says how to install it.
    """

    def __init__(self, name: str, *, weight: Tensor | None = None, bias: Tensor | None = None, **options: Any) -> None:
        self.name = name
        self.spec: Wrapped = WRAPPED[name]
        self.cls: Callable[..., Any] = load_class(name)
        self.needs_fitting = bool(getattr(self.cls, "requires_fit", False))
        self.needs_images = self.spec.looks.needs_images
        self.options = options
        self.head: nn.Linear | None = None if weight is None else linear(weight, bias)
        self.white: Whitening | None = None
        self.inner: Any = None  # `fit` makes it, because some options depend on the features.

    def attach(self, method: Method, backbone: nn.Module, preprocess: Preprocess) -> None:
        """Take the linear head of the method, if the detector uses one, see `head_of`.

        Raises:
            ValueError: If the method has no linear head, or its logits are not those of its head on pooled features.
        """
        if not self.spec.looks.needs_head or self.head is not None:
            return
        self.head = head_of(self.name, method, backbone, preprocess)

    def fit(self, logits: Tensor, features: Tensor, labels: Tensor) -> None:
        """Fit the detector on known training images: logits (N, K), pooled features (N, C), labels (N,) int64.

        Raises:
            ValueError: If a class has no image, the linear head does not give these logits, or pytorch-ood cannot be
                fitted on the inputs.
        """
        logits, features = self._plain(logits), self._plain(features)
        with torch.inference_mode(False):
            labels = labels.cpu().clone()
        self._check_head(logits, features)
        self._check_classes(labels, logits.shape[1])
        given = features.shape[1]
        with self._named_errors(), torch.inference_mode(False), torch.enable_grad():
            if self.spec.whiten:
                self.white = Whitening(features, labels)
                features = self.white(features)
            more = self.spec.fitted(features, labels) if self.spec.fitted else {}
            self.inner = self._build({**more, **self.options})
            match self.spec.looks:
                case _ if not self.needs_fitting:
                    pass
                case Looks.LOGITS:
                    self.inner.fit_logits(check_logits(logits), labels)
                case Looks.SHAPED:
                    self.inner.fit_feature_maps(features[:, :, None, None], labels)
                case Looks.COVERAGE:
                    self.inner.fit(list(zip(features.split(1024), labels.split(1024), strict=True)))
                case _:
                    self.inner.fit_features(features, labels)
        self.caution = self.spec.caution(self.name, len(labels), logits.shape[1], given)

    def __call__(self, logits: Tensor, features: Tensor) -> Tensor:
        """Return the unknown scores (B,) float, higher = more unknown, of logits (B, K) and pooled features (B, C).

        Raises:
            ValueError: If the detector needs fitting and `fit` was not called, the linear head does not give these
                logits, or pytorch-ood cannot score the inputs.
        """
        device = logits.device
        logits, features = self._plain(logits), self._plain(features)
        if self.inner is None:
            if self.needs_fitting:
                raise ValueError(f"{self.name}: fit it on training images first")
            with self._named_errors():
                self.inner = self._build(self.options)
        if not len(logits):
            return torch.zeros(0, device=device)
        self._check_head(logits, features)
        rows = max(1, CHUNK // (logits.shape[1] * features.shape[1]))
        with self._named_errors(), torch.inference_mode(False):
            parts = zip(logits.split(rows), features.split(rows), strict=True)
            scores = torch.cat([self._score(z, f).detach() for z, f in parts])
        return scores.to(device)

    def _score(self, logits: Tensor, features: Tensor) -> Tensor:
        if self.white is not None:
            features = self.white(features)
        scores: Tensor
        match self.spec.looks:
            case Looks.LOGITS:
                scores = self.inner.predict_logits(check_logits(logits))
            case Looks.SHAPED:
                scores = self.inner.predict_feature_maps(features[:, :, None, None])
            case Looks.GRADIENT | Looks.COVERAGE:
                scores = self.inner.predict(features)
            case _:
                scores = self.inner.predict_features(features)
        return scores

    def _build(self, options: dict[str, Any]) -> Any:
        """Make pytorch-ood's detector, with the linear head in the form that it needs."""
        options = {**self.spec.defaults, **options}
        looks = self.spec.looks
        if looks in (Looks.LOGITS, Looks.FEATURES):
            return self.cls(None, **options)
        if self.head is None:
            raise ValueError("looks at a linear head: give its weight and bias, or attach it to a network")
        match looks:
            case Looks.WEIGHTS:
                return self.cls(None, w=self.head.weight, b=self.head.bias, **options)
            case Looks.HEAD:
                return self.cls(None, self.head, **options)
            case Looks.SHAPED:
                return self.cls(None, nn.Sequential(nn.Flatten(), self.head), **options)
            case Looks.GRADIENT:
                # The paper uses the gradient of the last layer's weights, which depends only on the features.
                return self.cls(self.head, param_filter=lambda name: name == "weight", **options)
            case _:
                neurons = _Neurons()
                return self.cls(nn.Sequential(neurons, self.head), [neurons], **options)

    def _check_classes(self, labels: Tensor, classes: int) -> None:
        absent = sorted(set(range(classes)) - set(labels.tolist()))
        if absent:
            raise ValueError(f"{self.name}: no training image of class number {absent[0]}; every class needs one")

    def _check_head(self, logits: Tensor, features: Tensor) -> None:
        if self.head is not None and len(logits):
            check_head(self.name, self.head, logits, features)

    def _plain(self, values: Tensor) -> Tensor:
        """Return values as pytorch-ood needs them: float32 on the CPU, without gradient, no inference tensor."""
        with torch.inference_mode(False):
            plain = values.detach().cpu().float()
            return plain.clone() if plain.is_inference() else plain

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Turn errors of pytorch-ood into a ValueError that names the detector."""
        try:
            yield
        except (AssertionError, RuntimeError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{self.name}: {in_one_line(error)}") from error


class _Neurons(nn.Module):
    """A layer that returns its input features, as a tensor that takes a gradient."""

    def forward(self, features: Tensor) -> Tensor:
        return features.detach().requires_grad_()


def load_class(name: str) -> Callable[..., Any]:
    """Return the class of pytorch-ood that belongs to a name of `WRAPPED`.

    Raises:
        ValueError: If pytorch-ood is not installed; the message says how to install it.
    """
    try:
        from pytorch_ood import detector
    except ImportError as error:
        raise ValueError(
            f'detector {name} comes from pytorch-ood, which is not installed: pip install "backmix[detectors]"'
        ) from error
    found: Callable[..., Any] = getattr(detector, WRAPPED[name].cls)
    return found
