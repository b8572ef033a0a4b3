"""Measuring one server at one case: both are started, each on its core, and what they say becomes the figures of a run.

measuring.py is where to begin. Nothing here knows how figures are compared, or shown.
"""
