"""Detection and segmentation: the same functions twice, chosen once, by `task_of`."""
