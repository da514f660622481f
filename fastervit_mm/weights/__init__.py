"""Files of weights, in and out: safe loading, downloads, published names, the released detector."""
