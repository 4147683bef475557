"""CogVideoX (arXiv 2408.06072) by diffusers' pipelines: text, image and video to video, longer than its windows."""
