"""Downloads weights that are too large to be shipped from the Hugging Face Hub and converts them to a weights folder.

Start with `pull.py`. `repository.py` talks to the Hub, `originals.py` keeps the downloaded files, `pins.py` their
commits and checksums, `base_model.py` reads the files of the untouched base model, `install.py` writes the folder.
"""

from core.model.hub.pull import pull

__all__ = ["pull"]
