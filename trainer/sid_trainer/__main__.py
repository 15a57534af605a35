"""``python -m sid_trainer``."""

import os

# Before anything imports transformers, which warns of optional parts that nothing here uses.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from sid_trainer.cli import main
from sid_trainer.process.ending import end_with

end_with(main())
