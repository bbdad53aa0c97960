#!/usr/bin/env python3
"""Loads a distilled f32 student into the article's PyTorch model by name and compares logits.

usage: student_model.py STUDENT.safetensors INPUTS.f32 LOGITS.f32

INPUTS holds samples of 784 little-endian floats, LOGITS the 10 floats that hipflask gave for each.
Exit code 0: equal to 1e-4; 1: not; 77: PyTorch is not installed (a skip).
"""
import sys

try:
    import torch
    from safetensors.torch import load_file
    from torch import nn
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


class StudentModel(nn.Module):
    """784-64-10, as in the article."""

    def __init__(self, hidden: int = 64):
        super().__init__()
        self.fc1 = nn.Linear(784, hidden)
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def floats(path: str, width: int):
    with open(path, "rb") as file:
        return torch.frombuffer(bytearray(file.read()), dtype=torch.float32).reshape(-1, width)


def main() -> int:
    student, inputs, logits = sys.argv[1:]
    state = load_file(student)
    model = StudentModel(state["fc1.weight"].shape[0])
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        found = model(floats(inputs, 784))
    difference = (found - floats(logits, 10)).abs().max().item()
    print(f"{len(found)} samples, largest difference {difference:.2e}")
    return 0 if difference <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
