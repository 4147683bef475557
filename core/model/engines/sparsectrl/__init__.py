"""SparseCtrl: AnimateDiff windows, each going on from the last frame of the one before."""
