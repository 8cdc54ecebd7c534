"""Links out of ``docs/`` lead to files of the checkout, which the site does not have.

Such a link is shown as its text and the file's path. On the forge, and in an editor, it is a link.
"""

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+([^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace links to files outside the documentation."""
    depth = page.file.src_uri.count("/")

    def replaced(match: re.Match[str]) -> str:
        if match.group(0).count("../") <= depth:
            return match.group(0)
        text, path = match.group(1), match.group(2)
        return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"

    return _OUTSIDE.sub(replaced, markdown)
