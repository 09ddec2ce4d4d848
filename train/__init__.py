"""Train a recogniser on streamed shards; see ``python -m train --help``. Nothing here imports torch by itself."""
