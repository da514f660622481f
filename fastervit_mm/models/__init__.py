"""Our other registered modules: the published DINO, timm networks as backbones."""
