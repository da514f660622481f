"""Tests run on the CPU, also where there is a GPU."""

import os

os.environ['CUDA_VISIBLE_DEVICES'] = '-1'  # before anything asks for devices
