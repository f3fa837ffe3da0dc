"""Published weights of a tiny network, random ones in truth, in a cache of the hub that is made for a test."""

MODEL = "test_efficientnet"


def put_weights(monkeypatch, folder):
    """Put weights of `MODEL` where the hub would have put them, and forbid the network."""
    import timm
    import torch
    from huggingface_hub import constants
    from safetensors.torch import save_file

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    place = folder / f"models--{timm.get_pretrained_cfg(MODEL).hf_hub_id.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    (place / "snapshots" / ("0" * 40)).mkdir(parents=True)
    torch.manual_seed(0)
    model = timm.create_model(MODEL)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    model(torch.randn(8, 3, 96, 96))  # With statistics of its own, a random network tells images apart.
    save_file(model.state_dict(), place / "snapshots" / ("0" * 40) / "model.safetensors")
