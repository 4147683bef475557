"""Gets the weights of presets that are too large to be shipped: from the Hugging Face Hub to a folder that loads.

`pull.py` tells the story; `repository.py` speaks with the Hub, `originals.py` keeps what came from it, `pins.py` knows
exactly what that was, `base_model.py` reads the files of the untouched base model.
"""

from core.model.hub.pull import pull

__all__ = ["pull"]
