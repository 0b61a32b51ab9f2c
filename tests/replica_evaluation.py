"""Evaluates a run on several replicas; not a test by itself.

`python replica_evaluation.py REPLICAS MODEL_DIR` prints what --mode=eval does.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from efficientnetv2 import app, distribute


def main(replicas, folder):
    """Returns the exit code."""
    distribute.split_cpu(int(replicas))
    return app.main(
        [
            "main.py",
            "--mode=eval",
            f"--model_dir={folder}",
            "--hparam_str=runtime.strategy=mirrored",
        ]
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
