"""`python -m pyro_textvae` is `pyro-textvae`."""

import sys

from pyro_textvae.cli import main

sys.exit(main())
