"""Predictions on images, folders, videos and cameras, drawn and written to files."""

from .predicting import Interrupted, Outcome, Skipped, image_entry, predict
from .predictor import Predictor
from .sources import MAX_PIXELS, Frame, Source, batches, expand, frames_of, is_camera

__all__ = [
    'MAX_PIXELS',
    'Frame',
    'Interrupted',
    'Outcome',
    'Predictor',
    'Skipped',
    'Source',
    'batches',
    'expand',
    'frames_of',
    'image_entry',
    'is_camera',
    'predict',
]
