"""Metrics of videos that need networks: CLIP, the preset's own towers, LPIPS; and RAFT's optical flow.

Modules import torch only; transformers, torchvision and lpips are imported when a network is loaded, so that a
torchvision that does not fit torch harms nobody who does not ask for it.
"""
