"""Folders of labelled images: what lies in them, what is wrong with it, what training uses."""
