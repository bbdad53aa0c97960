"""Prints logits of torchvision's networks with weights and images made by formula.

The numbers stand in distill/src/network/tests/torchvision.rs. Needs PyTorch and torchvision:

    python3 tests/pytorch/networks.py
"""

import torch
import torchvision

SIZE = 96
torch.set_default_dtype(torch.float64)


def wave(shape, start, scale):
    """`scale · sin(start + 1.7 k)` for k = 0, 1, …, rounded to f32."""
    k = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (scale * torch.sin(start + 1.7 * k)).float().double().reshape(shape)


def fill(model):
    """Every tensor by its place among the sorted names."""
    names = sorted(n for n in model.state_dict() if not n.endswith("num_batches_tracked"))
    with torch.no_grad():
        for i, name in enumerate(names):
            tensor = model.state_dict()[name]
            if name.endswith("running_var"):
                tensor.copy_(wave(tensor.shape, i, 0.5) + 1)
            elif tensor.dim() > 1:
                fan_in = tensor[0].numel()
                tensor.copy_(wave(tensor.shape, i, (4 / fan_in) ** 0.5))
            elif name.endswith("weight"):
                tensor.copy_(wave(tensor.shape, i, 0.5) + 1)
            else:
                tensor.copy_(wave(tensor.shape, i, 0.5))


for network, make in [
    ("mobilenet-v2", torchvision.models.mobilenet_v2),
    ("mobilenet-v3-small", torchvision.models.mobilenet_v3_small),
    ("shufflenet-v2", torchvision.models.shufflenet_v2_x1_0),
]:
    model = make(weights=None, num_classes=4).double().eval()
    fill(model)
    logits = model(wave((1, 3, SIZE, SIZE), 0.5, 1.0))[0]
    print(network, [float(f"{v:.6g}") for v in logits])
