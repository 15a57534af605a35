"""``python -m sid_trainer``."""

import sys

from sid_trainer.cli import main

sys.exit(main())
