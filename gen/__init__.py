"""Generate labelled images of Chinese text lines as WebDataset shards: ``python -m gen --out shards/ --n 20k``."""
