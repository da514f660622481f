"""Published results of the networks on ImageNet and its relatives: other people's, not ours.

Sources: FasterViT paper (arXiv 2306.06189) and its authors' model zoo. -A, -R and -V2 were evaluated with a
crop of 0.875 whatever the network. Top-5 accuracies are not held here.
"""

from __future__ import annotations

from typing import NamedTuple

CROP_PCT_OF_RELATIVES = 0.875


class Published(NamedTuple):
    """What is published of a network.

    Attributes:
        top1: in percent, by variant of ImageNet (a key of `imagenet.SUBSETS`).
        throughput: images per second on one A100, batch 128; None: not published.
    """

    top1: dict[str, float]
    throughput: int | None = None


PUBLISHED: dict[str, Published] = {
    'fastervit_0': Published({'1k': 82.1, 'a': 23.9, 'r': 45.9, 'v2': 70.9}, 5802),
    'fastervit_1': Published({'1k': 83.2}, 4188),
    'fastervit_2': Published({'1k': 84.2}, 3161),
    'fastervit_3': Published({'1k': 84.9}, 1780),
    'fastervit_4': Published({'1k': 85.4, 'a': 49.0, 'r': 56.0, 'v2': 75.7}, 849),
    'fastervit_5': Published({'1k': 85.6}, 449),
    'fastervit_6': Published({'1k': 85.8}, 352),
    'fastervit_4_21k_224': Published({'1k': 86.6}),
    'fastervit_4_21k_384': Published({'1k': 87.6}),
    'fastervit_4_21k_512': Published({'1k': 87.8}),
    'fastervit_4_21k_768': Published({'1k': 87.9}),
}
"""By the name of the network, in the order of `variants.VARIANTS`."""
