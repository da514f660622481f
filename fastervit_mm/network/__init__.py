"""What an image goes through: the backbone, its stages, attention, windows, positions."""
