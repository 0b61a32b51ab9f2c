"""Which files are pictures: by suffix, in folders, by glob."""

import glob
import pathlib

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


def find_pictures(inputs):
    """Lists the picture files that the arguments name.

    Args:
        inputs: Files, folders (searched all the way down) or globs.

    Returns:
        A sorted list of paths without doubles.

    Raises:
        ValueError: for an argument that names no picture.
    """
    if not inputs:
        raise ValueError(
            "inputs must name at least one picture, folder or glob: "
            "--mode=predict ... pictures/*.jpg"
        )
    found = []
    for item in inputs:
        path = pathlib.Path(item)
        if path.is_dir():
            paths = [
                p
                for p in path.rglob("*")
                if p.suffix.lower() in SUFFIXES and p.is_file()
            ]
        elif path.is_file():
            paths = [path]
        else:
            matches = (
                pathlib.Path(p) for p in glob.glob(str(item), recursive=True)
            )
            paths = [p for p in matches if p.is_file()]
        if not paths:
            raise ValueError(f"no picture found at {str(item)!r}")
        found.extend(paths)
    return sorted(set(found))
