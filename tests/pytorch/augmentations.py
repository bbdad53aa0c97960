"""Prints what Pillow's operations make of one small image.

The numbers stand in distill/src/data/augment/tests.rs. Run it anywhere Pillow is:

    python3 tests/pytorch/augmentations.py
"""

from PIL import Image, ImageEnhance, ImageOps

W, H = 5, 4


def channel(c):
    """`(37 i + 53 c) mod 251` for i = 0, 1, …"""
    image = Image.new("L", (W, H))
    image.putdata([(37 * i + 53 * c) % 251 for i in range(W * H)])
    return image


def show(name, image):
    planes = [list(plane.getdata()) for plane in image.split()]
    print(f"{name}: {planes}")


image = Image.merge("RGB", [channel(c) for c in range(3)])
show("brightness 1.4", ImageEnhance.Brightness(image).enhance(1.4))
show("contrast 0.5", ImageEnhance.Contrast(image).enhance(0.5))
show("saturation 1.6", ImageEnhance.Color(image).enhance(1.6))
show("sharpness 1.9", ImageEnhance.Sharpness(image).enhance(1.9))
show("autocontrast", ImageOps.autocontrast(channel(1).point(lambda v: v // 2 + 30)))
show("solarize 128", ImageOps.solarize(image, 128))
show("posterize 4", ImageOps.posterize(image, 4))
show("rotate 20", channel(1).transform((W, H), Image.Transform.AFFINE, (0.9396926207859084, 0.3420201433256687, (1 - 0.9396926207859084) * 2.5 - 0.3420201433256687 * 2, -0.3420201433256687, 0.9396926207859084, 0.3420201433256687 * 2.5 + (1 - 0.9396926207859084) * 2)))
show("shear 0.3", channel(1).transform((W, H), Image.Transform.AFFINE, (1, 0.3, 0, 0, 1, 0)))
big = Image.new("L", (32, 32))
big.putdata([(i * i // 7) % 101 + 60 for i in range(1024)])
show("equalize", ImageOps.equalize(big).crop((0, 0, 12, 1)))
