"""Small commands for people: `python -m tools.NAME --help` explains each of them."""
