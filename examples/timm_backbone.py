"""BackMix with any timm backbone, convolutional or transformer, by the training function of the library.

Run: python examples/timm_backbone.py [model] [epochs]       e.g. vit_tiny_patch16_224, resnet18, convnext_atto
"""

import sys

from backmix.classifier import OpenSetClassifier
from backmix.data.digits import DigitsOnTextures
from backmix.fit.training import fit
from backmix.train.loop import EpochReport
from backmix.train.recipe import TrainOptions

model = sys.argv[1] if len(sys.argv) > 1 else "resnet10t"
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 5


def show(report: EpochReport) -> None:
    print(f"epoch {report.epoch + 1}: loss {report.loss:.3f}, accuracy {report.accuracy:.3f} on mixed images")


# Transformers need a size that is a multiple of their patch: 64 px give 4x4 patches of 16 px, and a 4x4 map.
size = 64
train = DigitsOnTextures("train", image_size=size)
classifier = OpenSetClassifier(list(train.known), model=model, image_size=size)  # pretrained=True takes timm's weights
fit(
    classifier,
    train,
    held_out=DigitsOnTextures("val", image_size=size),  # Its known digits set the threshold.
    options=TrainOptions(epochs=epochs, batch_size=32, lr=1e-3, optimizer="adamw", schedule="cosine", flip=0.0),
    augmentation="backmix",
    on_epoch=show,
)

result = classifier.evaluate(DigitsOnTextures("test", image_size=size))
score = result["detectors"]["max_logit"]
print(f"{model}: closed accuracy {result['accuracy']:.3f}, AUROC {score['auroc']:.3f}, OSCR {score['oscr']:.3f}")
print(f"asked to accept {classifier.accept:.0%} of known digits, accepts {score['accepted_known']:.0%} of new ones")
