"""Networks and layers that engines share: UNet halves, attention, kernels, encoders."""
