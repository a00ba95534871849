"""`python -m lm_probe.cli`."""

import sys

from lm_probe.cli import main

sys.exit(main())
