"""Looks at every configured part of an installation and says what to do: behind ``riskwire doctor``."""
