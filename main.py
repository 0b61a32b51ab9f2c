"""The door: `python main.py --help` works from any directory."""

import sys

from efficientnetv2 import app

if __name__ == "__main__":
    sys.exit(app.main(sys.argv))
