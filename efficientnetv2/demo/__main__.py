"""`python -m efficientnetv2.demo`: a page to try an exported model on."""

import importlib.util
import os
import pathlib
import sys
import tempfile
import threading

from efficientnetv2 import entry_point, startup

_ABOUT = """\
Serves a web page on this machine: drop a picture, see its classes and where in
the picture the model sees them.

  python -m export --model_dir=DIR --format=saved_model --export_dir=DIR
  python -m efficientnetv2.demo --export_dir=DIR"""


def _parser():
    parser = entry_point.FlagParser(
        usage="python -m efficientnetv2.demo --export_dir=DIR [flags]",
        description=_ABOUT,
    )
    add = parser.add_argument
    add(
        "--export_dir",
        metavar="DIR",
        required=True,
        help="what `python -m export` wrote, with the format saved_model",
    )
    add(
        "--port",
        metavar="N",
        type=int,
        help="to listen on [the first free one from 7860 on]",
    )
    add("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _title(export_dir):
    """The heading of the model card, else the folder's name."""
    folder = pathlib.Path(export_dir).absolute()
    card = folder / "README.md"
    if card.is_file():
        return card.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    return folder.name


def _serve(model, *, title, port):
    """Serves until ctrl-C."""
    from efficientnetv2.demo import page

    shown = page.build(model, title=title)
    address = page.serve(shown, port=port)
    print(f"open {address} in a browser; ctrl-C ends it", flush=True)
    try:
        threading.Event().wait()
    finally:
        shown.close(verbose=False)


def _run(argv):
    values = _parser().parse_args(argv[1:])
    port = values.port
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"port must lie between 1 and 65535. Received: {port}")
    if not importlib.util.find_spec("gradio"):
        raise ValueError(
            "the demo needs gradio: pip install 'efficientnetv2[demo]'"
        )
    with startup.quiet():
        from efficientnetv2.demo import classifier
    model = classifier.Classifier(values.export_dir)
    with tempfile.TemporaryDirectory(prefix="demo-") as pictures:
        os.environ["GRADIO_TEMP_DIR"] = pictures  # read at its import
        _serve(model, title=_title(values.export_dir), port=port)


if __name__ == "__main__":
    sys.exit(entry_point.run(_run, sys.argv))
