"""What the box noise of DINO's denoising queries means: the same on both package lines, as published.

A positive query's corners move by at most half of the noise scale times the box's width or height, a
negative one's by more, up to twice that (DINO, arXiv 2203.03605, section 3.3).
"""

import pytest
import torch

from tests.configs.resolved import read

BOX = torch.tensor([[0.5, 0.5, 0.2, 0.1]])  # centre, width, height


@pytest.mark.parametrize('scale', [0.2, 0.4])
def test_corners_move_by_the_noise_scale(scale):
    from mmdet.models.layers import CdnQueryGenerator

    torch.manual_seed(0)
    settings = read('detection/dino_4scale_fastervit_0_12e').model.dn_cfg
    assert settings.box_noise_scale == 0.4
    generator = CdnQueryGenerator(
        num_classes=3,
        embed_dims=8,
        num_matching_queries=4,
        label_noise_scale=0.5,
        box_noise_scale=scale,
        group_cfg=dict(dynamic=True, num_groups=None, num_dn_queries=100),
    )
    groups = 400
    corners = torch.cat((BOX[:, :2] - BOX[:, 2:] / 2, BOX[:, :2] + BOX[:, 2:] / 2), dim=1)
    queries = generator.generate_dn_bbox_query(corners, groups).sigmoid()
    centre, size = queries[:, :2], queries[:, 2:]
    moved = torch.cat((centre - size / 2, centre + size / 2), dim=1) - corners
    shares = (moved / BOX[:, 2:].repeat(1, 2)).abs() / (scale / 2)
    positive, negative = shares.reshape(groups, 2, 4).unbind(1)
    assert positive.max() <= 1 + 1e-4 and positive.max() > 0.95
    assert negative.min() >= 1 - 1e-4 and 1.95 < negative.max() <= 2 + 1e-4
