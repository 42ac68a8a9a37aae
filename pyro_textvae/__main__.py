"""`python -m pyro_textvae` is `pyro-textvae`."""

import sys

from pyro_textvae.cli import main

if __name__ == "__main__":
    sys.exit(main())
