"""The engine `instruct_pix2pix`: edits a video by an instruction."""
