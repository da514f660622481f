"""Predictions on images, folders, videos and cameras, drawn and written to files."""

from .predictor import Predictor, image_entry, predict
from .sources import Frame, Source, batches, expand, frames_of, is_camera

__all__ = [
    'Frame',
    'Predictor',
    'Source',
    'batches',
    'expand',
    'frames_of',
    'image_entry',
    'is_camera',
    'predict',
]
