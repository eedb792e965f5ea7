"""`python -m ms_plm` is `ms-plm`; msrun needs a Python program to start."""

import sys

from ms_plm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
