"""The web page: a picture goes in, classes with bars and a heat map come out.

Gradio draws it and serves it.
"""

import os
import pathlib

# Read when gradio is imported: no word to anyone about what runs here.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio

from efficientnetv2.demo import heat

_SIDE = 400  # pixels of a picture on the page
_CSS = """
.gradio-container > main { width: min(960px, 100%); margin: auto; }
#classes .bar { height: 10px; border-radius: 5px; }
"""


def _theme():
    # Fonts of the system, not from the network.
    fonts = ["system-ui", "sans-serif"]
    return gradio.themes.Soft(primary_hue="orange", font=fonts, font_mono=fonts)


def _path(file):
    return None if file is None else file.path


def _heat_map(answer, place):
    return gradio.Image(
        heat.overlay(answer.picture, answer.heat_maps[place], side=_SIDE),
        label=f"Where it sees: {answer.classes[place]}",
    )


def build(classifier, *, title):
    """Builds the page.

    Args:
        classifier: A `classifier.Classifier`.
        title: Its heading.

    Returns:
        A `gradio.Blocks`.
    """

    def classify(path):
        if path is None:
            return None, None, gradio.Image(None, label="Where it looks")
        try:
            answer = classifier.classify(pathlib.Path(path).read_bytes())
        except ValueError as error:
            raise gradio.Error(str(error), print_exception=False) from None
        bars = dict(zip(answer.classes, answer.probabilities, strict=True))
        return answer, bars, _heat_map(answer, 0)

    def choose(answer, event: gradio.SelectData):
        return _heat_map(answer, event.index)

    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        gradio.Markdown(
            f"# {title}\nDrop a picture. Choose a class to see where in the "
            "picture the model sees it (Grad-CAM)."
        )
        answer = gradio.State()
        with gradio.Row():
            picture = gradio.Image(
                label="Picture",
                type="filepath",
                sources=["upload", "clipboard"],
                height=_SIDE,
                elem_id="picture",
            )
            heat_map = gradio.Image(
                label="Where it looks",
                interactive=False,
                height=_SIDE,
                buttons=["fullscreen"],
                elem_id="heat_map",
            )
        bars = gradio.Label(label="Classes", elem_id="classes")
        # Gradio would open the file, and answer a broken one with a traceback;
        # whether it is a picture is for the model to say.
        picture.preprocess = _path  # type: ignore[method-assign]
        given = [picture.input, picture.clear]
        gradio.on(given, classify, picture, [answer, bars, heat_map])
        bars.select(choose, answer, heat_map)
    return page


def serve(page, *, port=None):
    """Serves the page to this machine alone, in threads of its own.

    Args:
        page: What `build` gave.
        port: Port to listen on; None: the first free one from 7860 on.

    Returns:
        The page's address.

    Raises:
        OSError: if the port is taken.
    """
    _, address, _ = page.launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        show_error=True,
        ssr_mode=False,
        footer_links=[],
        theme=_theme(),
        css=_CSS,
    )
    return address
