"""The routes, one room of them a file."""
