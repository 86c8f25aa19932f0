"""The release's network: U-Net backbone, three heads, filters. Names are the checkpoints'."""

import torch
from torch import nn
from torch.nn import functional

from . import filters

SLOPE = 0.01
"""Of every LeakyReLU."""

HEAD_SIDE = 300
"""Side of the square that the heads look at."""

UNUSED = ("conv1.", "conv2.", "conv3.", "local_net.")
"""Under `backbonenet.unet.`: stored in every checkpoint of the release and never called."""


class Double(nn.Module):
    """Twice: reflect-pad 1, 3x3 convolution, LeakyReLU."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, padding_mode="reflect")

    def forward(self, x):
        for convolution in (self.conv1, self.conv2):
            x = functional.leaky_relu(convolution(x), SLOPE, inplace=True)
        return x


class UNet(nn.Module):
    """Five levels down, four up, and the input added at the end."""

    def __init__(self):
        super().__init__()
        self.dconv_down1 = Double(3, 16)
        self.dconv_down2 = Double(16, 32)
        self.dconv_down3 = Double(32, 64)
        self.dconv_down4 = Double(64, 128)
        self.dconv_down5 = Double(128, 128)
        self.up_conv1x1_1 = nn.Conv2d(128, 128, 1)
        self.up_conv1x1_2 = nn.Conv2d(128, 128, 1)
        self.up_conv1x1_3 = nn.Conv2d(64, 64, 1)
        self.up_conv1x1_4 = nn.Conv2d(32, 32, 1)
        self.dconv_up4 = Double(256, 128)
        self.dconv_up3 = Double(192, 64)
        self.dconv_up2 = Double(96, 32)
        self.dconv_up1 = Double(48, 16)
        self.conv_last = Double(16, 3)

    def forward(self, image):
        skips = []
        x = self.dconv_down1(image)
        for down in (self.dconv_down2, self.dconv_down3, self.dconv_down4, self.dconv_down5):
            skips.append(x)
            x = down(functional.max_pool2d(x, 2))
        rise = (
            (self.up_conv1x1_1, self.dconv_up4),
            (self.up_conv1x1_2, self.dconv_up3),
            (self.up_conv1x1_3, self.dconv_up2),
            (self.up_conv1x1_4, self.dconv_up1),
        )
        for projection, up in rise:
            skip = skips.pop()
            x = projection(functional.interpolate(x, scale_factor=2, mode="nearest"))
            missing_rows = skip.shape[-2] - x.shape[-2]
            missing_columns = skip.shape[-1] - x.shape[-1]
            # Zeros at the left and at the bottom, where a side was odd.
            x = functional.pad(x, (missing_columns, 0, 0, missing_rows))
            x = up(torch.cat([x, skip], dim=1))
        return self.conv_last(x) + image


class Backbone(nn.Module):
    """U-Net and the convolution to Y1 (3 channels) and features (61)."""

    def __init__(self):
        super().__init__()
        self.unet = UNet()
        self.final_conv = nn.Conv2d(3, 64, 3, padding=1, padding_mode="reflect")

    def forward(self, image):
        return self.final_conv(self.unet(image))


class HeadLayer(nn.Module):
    """3x3 convolution of stride 2, zero-padded, LeakyReLU."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(64, 64, 3, stride=2, padding=1)

    def forward(self, x):
        return functional.leaky_relu(self.conv(x), SLOPE, inplace=True)


class Head(nn.Module):
    """Features and an image, resized, to the raw parameters of one filter."""

    def __init__(self, name, outputs):
        super().__init__()
        self.name = name
        for layer in (1, 3, 5, 7):
            self.add_module(f"{name}_layer{layer}", HeadLayer())
        self.dropout = nn.Dropout(0.5)
        self.add_module(f"fc_{name}", nn.Linear(64, outputs))

    def forward(self, features, image):
        x = torch.cat([features, image], dim=1)
        x = functional.interpolate(x, (HEAD_SIDE, HEAD_SIDE), mode="bilinear", align_corners=False)
        x = self.get_submodule(f"{self.name}_layer1")(x)
        for layer in (3, 5, 7):
            x = self.get_submodule(f"{self.name}_layer{layer}")(functional.max_pool2d(x, 2))
        return self.get_submodule(f"fc_{self.name}")(self.dropout(x.mean(dim=(2, 3))))


class Heads(nn.Module):
    """One per filter."""

    def __init__(self):
        super().__init__()
        self.cubic_filter = Head("cubic", filters.CUBIC)
        self.graduated_filter = Head("graduated", filters.GRADUATED)
        self.elliptical_filter = Head("elliptical", filters.ELLIPTICAL)


class DeepLPF(nn.Module):
    """The whole network: (N, 3, H, W) to the enhanced images and the raw parameters (N, 108)."""

    def __init__(self):
        super().__init__()
        self.backbonenet = Backbone()
        self.deeplpfnet = Heads()
        self.register_buffer("order", filters.coefficient_order(), persistent=False)

    def forward(self, image):
        both = self.backbonenet(image)
        backbone_image, features = both[:, :3], both[:, 3:]
        heads = self.deeplpfnet
        cubic = heads.cubic_filter(features, backbone_image)
        filtered = filters.cubic(backbone_image, cubic, self.order)
        graduated = heads.graduated_filter(features, filtered)
        elliptical = heads.elliptical_filter(features, filtered)
        output = filters.fuse(
            backbone_image,
            filtered,
            filters.graduated_map(backbone_image, graduated),
            filters.elliptical_map(backbone_image, elliptical),
        )
        return output, torch.cat([cubic, graduated, elliptical], dim=1)


def read_weights(path):
    """The tensors of a .safetensors or PyTorch file; nothing in it is executed."""
    if str(path).endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def load(path, dtype=torch.float32):
    """The network with the weights of a file. Every tensor must find its place, but for UNUSED."""
    tensors = read_weights(path)
    prefix = "backbonenet.unet."
    used = {
        name: tensor
        for name, tensor in tensors.items()
        if not any(name.startswith(prefix + unused) for unused in UNUSED)
    }
    network = DeepLPF()
    network.load_state_dict(used, strict=True)
    return network.to(dtype)
