"""How good a model is on labelled texts: figures with their uncertainty, curves, slices, comparison, report."""
