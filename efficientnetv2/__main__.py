"""`python -m efficientnetv2`: the same app as main.py, after pip install."""

import sys

from efficientnetv2 import app

if __name__ == "__main__":
    sys.exit(app.main(sys.argv))
