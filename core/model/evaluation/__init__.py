"""Measuring videos: what they show, whether it moves as asked, and whether it holds."""
