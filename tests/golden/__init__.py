"""`make golden GOLDEN=FOLDER`: compares our code with golden numbers of the published implementation.

`folder` reads the files, one module per stem computes what they hold, `report` compares and prints. All sizes and
constants come from the files. Knows no server and no preset.
"""

import os

# Read when torch is imported. The numbers need two threads, and threads that wait by spinning stand in each other's way
# where the machine has other work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
