"""`python -m tests.cluster.local`."""

import sys

from .cli import main

sys.exit(main())
