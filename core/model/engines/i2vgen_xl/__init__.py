"""I2VGen-XL: a video from an image and a prompt, window by window."""
