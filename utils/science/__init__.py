"""Pure arithmetic on arrays; threads.py alone knows the machine, and runs before numba is imported."""

from utils.science.threads import settle_numba

settle_numba()
