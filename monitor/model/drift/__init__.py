"""Has the news, or what the model makes of it, changed? Counts per block of time, and tests between two sets of blocks.

Needs no torch: it reads stored probabilities and the artefact's tokenizer.
"""
