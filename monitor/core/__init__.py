"""Types, identities, ports, errors, clock and codec. Imports the standard library only."""
