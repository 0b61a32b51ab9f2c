"""Pages of the site that lie outside docs/, with links that fit there."""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parent.parent
# File of the checkout -> page of the site.
OUTSIDE = {"README.md": "index.md", "hparams/README.md": "recipes.md"}
_LINK = re.compile(r"\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Adds the pages; MkDocs calls it."""
    for path, page in OUTSIDE.items():
        files.append(
            File.generated(config, page, abs_src_path=str(ROOT / path))
        )
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links between files of the checkout into links between pages.

    Of a file that is no page the name stays. A link to nothing stays as it is,
    so that a strict build fails.
    """
    uri = page.file.src_uri
    own = {p: path for path, p in OUTSIDE.items()}.get(uri, f"docs/{uri}")

    def point(match):
        text, link, anchor = match.groups(default="")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(own), link))
        if not (ROOT / path).exists():
            return match[0]
        if path not in OUTSIDE and not path.startswith("docs/"):
            return text
        target = OUTSIDE.get(path, path.removeprefix("docs/"))
        start = posixpath.dirname(uri) or "."
        return f"[{text}]({posixpath.relpath(target, start)}{anchor})"

    return _LINK.sub(point, markdown)
