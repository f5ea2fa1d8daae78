"""Rules beside statistics: what users want to be told of, in their own words. See docs/rules.md."""
