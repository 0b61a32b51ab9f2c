"""Runs a small training in a process of its own, for tests that kill it.

    python training_run.py MODEL_DIR DATA_DIR [--kill_step N] [--devices N]

Prints a JSON line a step: the stage's dropout rate and the traces so far.
"""

import argparse
import json
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from efficientnetv2 import config, distribute, train
from efficientnetv2.train_step import TrainStep

BLOCKS = "r1_k3_s1_e1_i8_o8_c1;r2_k3_s2_e4_i8_o8_se0.25"
SETTINGS = (
    "train.epochs=4,train.stages=2,train.batch_size=8,train.isize=24,"
    "data.ibase=16,eval.isize=24,train.lr_warmup_epoch=1,data.augname=randaug,"
    "data.ram=8,data.mixup_alpha=0.2,data.mixup_alpha_start=0.2,"
    "model.dropout_rate=0.4,train.dropout_rate_start=0.1,"
    "data.max_bad_fraction=0.1,runtime.save_checkpoints_steps=3,"
    "train.optimizer=rmsprop,train.lr_base=0.1"
)


def _main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model_dir")
    parser.add_argument("data_dir")
    parser.add_argument("--kill_step", type=int)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--settings", default="")
    options = parser.parse_args()
    settings = f"{SETTINGS},{options.settings}".rstrip(",")
    if options.devices > 1:
        distribute.split_cpu(options.devices)
        settings += ",runtime.strategy=mirrored"
    recipe = pathlib.Path(options.data_dir) / "recipe.yaml"
    run = TrainStep.__call__

    def watched(self, batches, step, dropout_rate, **kwargs):
        if step == options.kill_step:
            os.kill(os.getpid(), signal.SIGKILL)
        result = run(self, batches, step, dropout_rate, **kwargs)
        row = {"step": step, "dropout": dropout_rate, "traces": self.traces}
        print(json.dumps(row), flush=True)
        return result

    TrainStep.__call__ = watched
    loaded = config.load(
        BLOCKS, str(recipe), settings, data_dir=options.data_dir
    )
    return train.train(loaded, options.model_dir)


if __name__ == "__main__":
    sys.exit(_main())
