"""Our other registered modules: the published DINO, Swin with hierarchical attention, timm networks."""
