"""BackMix in your own training loop: three lines, for any network that ends in a feature map and a linear head.

Run: python examples/plain_loop.py [epochs]
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from backmix.data.digits import DigitsOnTextures
from backmix.metrics.figures import auroc
from backmix.mixing import BackMix, class_activation_map

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
torch.manual_seed(0)

# Digits 0-5 are known, and each usually stands on its own texture. Digits 6-9 are unknown.
train, test = DigitsOnTextures("train", copies=2).arrays(), DigitsOnTextures("test").arrays()
known = train.labels < 6
images, labels = (train.images[known].float() - 127.5) / 64, train.labels[known]
train_set = TensorDataset(images, labels, torch.arange(len(labels)))  # The index links each image to its map.


def block(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2))


backbone = nn.Sequential(block(3, 32), block(32, 64), block(64, 128))  # (B, 3, 32, 32) -> (B, 128, 4, 4)
head = nn.Linear(128, 6)
optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=2e-3, weight_decay=0.01)

mix = BackMix(len(train_set))  # 1
for epoch in range(epochs):
    backbone.train()
    for batch, target, index in DataLoader(train_set, batch_size=64, shuffle=True, drop_last=True):
        batch = mix(batch, index)  # 2: the labels do not change
        features = backbone(batch)
        loss = nn.functional.cross_entropy(head(features.mean((2, 3))), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mix.update(index, class_activation_map(features, head.weight, target))  # 3
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")

backbone.eval()
with torch.inference_mode():  # BackMix does not change inference; the unknown score is minus the largest logit.
    logits = head(backbone((test.images.float() - 127.5) / 64).mean((2, 3)))
score, is_known = -logits.amax(1), test.labels < 6
accuracy = (logits.argmax(1) == test.labels)[is_known].float().mean().item()
print(f"closed accuracy {accuracy:.3f}, AUROC of unknown digits {auroc(score[is_known], score[~is_known]):.3f}")
