"""StreamingT2V (arXiv 2403.14773): networks, first chunk, autoregressive windows and the engine over them."""
