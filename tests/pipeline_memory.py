"""How much memory the input pipeline holds, epoch after epoch.

`python tests/pipeline_memory.py DATA_SET DATA_DIR IMAGE_SIZE EPOCHS` prints the
process's resident MiB after each tenth of the epochs, a number a line.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from efficientnetv2 import config
from efficientnetv2.data import pipeline, sources

BATCH = 32


def _resident():
    """The process's resident memory, MiB."""
    status = pathlib.Path("/proc/self/status").read_text()
    kilobytes = status.split("VmRSS:")[1].split()[0]
    return int(kilobytes) // 1024


def main(dataset, data_dir, image_size, epochs):
    """Reads the epochs and prints."""
    settings = config.load("efficientnetv2-b0", dataset, data_dir=data_dir)
    source = sources.open_source(settings.data, "train")
    steps = source.num_examples // BATCH
    batches = pipeline.train_batches(
        source,
        batch_size=BATCH,
        steps_per_epoch=steps,
        end_epoch=epochs,
        image_size=image_size,
        augname="randaug",
        mixup_alpha=0.2,
    )
    marks = {epochs * tenth // 10 * steps for tenth in range(1, 11)}
    for step, _ in enumerate(batches, 1):
        if step in marks:
            print(_resident(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
