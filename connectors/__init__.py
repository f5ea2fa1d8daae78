"""Sources of articles. Connectors are found by entry point (group ``riskwire.connectors``); see docs/connectors.md."""
