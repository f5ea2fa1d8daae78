"""The notifiers that come with Riskwire. Others add theirs through the entry point group ``riskwire.notifiers``."""
