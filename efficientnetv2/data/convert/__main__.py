"""`python -m efficientnetv2.data.convert`: pictures into TFRecords."""

import sys

from efficientnetv2 import entry_point, startup

_ABOUT = """\
Converts pictures, in a folder for each class or listed in a CSV, into TFRecords
in the form of ImageNet's: train-*, validation-* and labels.txt.

  python -m efficientnetv2.data.convert --data_dir=DIR --output_dir=DIR

Files are kept as they are; what cannot be decoded is left out. Stopped at any
moment it goes on where it was when the same command is given again."""


def _parser():
    parser = entry_point.FlagParser(
        usage="python -m efficientnetv2.data.convert --data_dir=DIR "
        "--output_dir=DIR [flags]",
        description=_ABOUT,
    )
    add = parser.add_argument
    add(
        "--data_dir",
        metavar="DIR",
        required=True,
        help="train/<class>/*.jpg and eval/<class>/*.jpg, <class>/*.jpg, or "
        "train.csv and eval.csv of path,label; may be remote",
    )
    add(
        "--output_dir",
        metavar="DIR",
        required=True,
        help="an empty folder, or a conversion to go on with; may be remote",
    )
    add(
        "--format",
        metavar="folder|csv",
        choices=("folder", "csv"),
        help="what data_dir is [csv where there is a train.csv]",
    )
    add(
        "--shard_mb",
        metavar="N",
        type=int,
        default=128,
        help="size of a file, MiB [128]",
    )
    add(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="of the order in the files [0]",
    )
    add(
        "--threads",
        metavar="N",
        type=int,
        help="that read and check pictures [one a CPU core]",
    )
    add(
        "--max_bad_fraction",
        metavar="X",
        type=float,
        default=0.01,
        help="share of the pictures that may be broken [0.01]",
    )
    add(
        "--overwrite",
        action="store_true",
        help="remove an earlier conversion from output_dir first",
    )
    add("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _check(values):
    for name, least in (("shard_mb", 1), ("seed", 0), ("threads", 1)):
        value = getattr(values, name)
        if value is not None and value < least:
            raise ValueError(f"{name} must be >= {least}. Received: {value}")
    if not 0 <= values.max_bad_fraction <= 1:
        raise ValueError(
            "max_bad_fraction must be >= 0 and <= 1. "
            f"Received: {values.max_bad_fraction}"
        )


def _run(argv):
    values = _parser().parse_args(argv[1:])
    _check(values)
    with startup.quiet():
        from efficientnetv2.data.convert.conversion import convert
    counts, broken = convert(
        values.data_dir,
        values.output_dir,
        kind=values.format,
        shard_mb=values.shard_mb,
        seed=values.seed,
        threads=values.threads,
        max_bad_fraction=values.max_bad_fraction,
        overwrite=values.overwrite,
    )
    said = ", ".join(f"{count} in {split}" for split, count in counts.items())
    note = f" ({broken} broken ones left out)" if broken else ""
    print(f"All in {values.output_dir}: {said}{note}")
    print(
        "Train on them: python main.py --mode=train --dataset_cfg=records "
        f"--data_dir={values.output_dir}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(entry_point.run(_run, sys.argv))
