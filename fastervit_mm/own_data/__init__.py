"""A folder of somebody's own labelled images: finding its parts, looking for problems, fitting a
config to it.
"""
