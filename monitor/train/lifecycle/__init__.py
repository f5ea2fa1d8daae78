"""A model's life after its release: labels by its users, training anew, and the gates before it may replace itself."""
