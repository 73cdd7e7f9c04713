"""Negative transfer (section 3 of the paper): networks pre-trained on parts of ImageNet (docs/negative_transfer.md)."""
