"""The folder of a run: written whole, read with its checks, fetched from the hub."""
