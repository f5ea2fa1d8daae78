"""What an operator sees of a running daemon: logs, metrics, health."""
