"""The same network, faster: rewritten for inference, compiled."""
