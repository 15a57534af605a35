"""``python -m sid_trainer``."""

import os
import sys

# Before anything imports transformers, which warns of optional parts that nothing here uses.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from sid_trainer.cli import main

sys.exit(main())
