"""Before anything is imported: one OpenMP thread.

Boosted trees run many short parallel loops. Where another program has the second processor, their threads wait for one
another, and a test of ten seconds takes minutes. Results do not depend on the number of threads.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
