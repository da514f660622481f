"""Accuracy on ImageNet and its relatives."""
