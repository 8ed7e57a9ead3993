"""Nets of transformers with small random configs as Optimum exports them.

    python optimum_files.py FOLDER        (optimum-onnx; no equiaudit)

FOLDER/NAME/model.onnx and FOLDER/NAME.npz: x (N, 3, H, W) float32, and y, the logits of torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import transformers as t
from optimum.exporters.onnx import onnx_export_from_model

SIDE = 32


def nets() -> dict[str, t.PreTrainedModel]:
    """By the name of the folder."""
    small = {"num_labels": 5, "image_size": SIDE}
    return {
        "resnet": t.ResNetForImageClassification(
            t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=5)
        ),
        "vit": t.ViTForImageClassification(
            t.ViTConfig(
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                patch_size=8,
                **small,
            )
        ),
        "segformer": t.SegformerForSemanticSegmentation(
            t.SegformerConfig(
                depths=[1] * 4,
                hidden_sizes=[8] * 4,
                num_attention_heads=[1] * 4,
                decoder_hidden_size=8,
                num_labels=5,
            )
        ),
    }


def main(folder: Path) -> None:
    torch.manual_seed(0)
    for name, net in nets().items():
        x = torch.randn(3, 3, SIDE, SIDE)
        with torch.no_grad():
            y = net.eval()(pixel_values=x).logits
        onnx_export_from_model(net, folder / name, do_validation=False)
        np.savez(folder / f"{name}.npz", x=x.numpy(), y=y.numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
