"""Text2Video-Zero: video from an image model without training."""
