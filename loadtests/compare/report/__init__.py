"""Telling people: docs/benchmarks.md with its plots, README.md's tables, and the terminal. From results alone.

rows.py has the figures as texts, for all of them; losses.py, proof.py and story.py are the sentences of the page.
"""
