"""Names on the bus."""

ARTICLES = "articles"
"""The topic that connectors publish to."""

DEAD_LETTERS = "dead-letters"
"""Records that could not be processed, with the reason and origin in their headers."""

SCORE_GROUP = "score"
"""The consumer group of the score role."""
