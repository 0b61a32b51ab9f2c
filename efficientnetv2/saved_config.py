"""A run's config.yaml, in a folder on a local disk or behind an address."""

from efficientnetv2 import config, config_layers, storage

FILE = "config.yaml"


def read(folder):
    """Reads the settings that a run was started with.

    Args:
        folder: The run's folder.

    Returns:
        A `Config`, or None where there is none.

    Raises:
        ValueError: if the file is none that `write` wrote.
    """
    path = storage.join(folder, FILE)
    if not storage.is_remote(path):
        return config.read(path) if path.is_file() else None
    origin = repr(path)
    try:
        with storage.open_bytes(path) as file:
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return config.from_dict(
        config_layers.parse_yaml(text, origin), origin=origin
    )


def write(settings, folder):
    """Writes a run's settings; the file is complete or not there.

    Args:
        settings: A `Config`.
        folder: The run's folder, made if it is not there.

    Raises:
        OSError: if it cannot be written; what was there stays.
    """
    storage.make_folder(folder)
    path = storage.join(folder, FILE)
    if not storage.is_remote(path):
        config.save(settings, path)
        return
    text = config.to_text(settings).encode()
    storage.write(path, lambda file: file.write(text))
