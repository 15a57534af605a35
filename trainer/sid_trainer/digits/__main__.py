"""``python -m sid_trainer.digits``."""

from sid_trainer.digits.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
