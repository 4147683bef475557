"""`longtake compare`: methods of long video side by side, by the protocol of StreamingT2V's paper (its Table 1)."""
