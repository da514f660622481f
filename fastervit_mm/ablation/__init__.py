"""Do carrier tokens help? Small trainings of equal schedule on drawn scenes, and their table."""
