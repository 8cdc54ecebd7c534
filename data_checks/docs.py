"""Data Docs that look like pages without a network.

Great Expectations' pages load their styles and scripts from content delivery networks, and its
index is drawn by such a script. Here the pages get a small stylesheet of ours instead and a plain
index; nothing in them is fetched or executed.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_TEMPLATES = Path(__file__).parent / "templates"
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
)
_REMOVED = tuple(
    re.compile(pattern, re.DOTALL | re.IGNORECASE)
    for pattern in (
        r"<script\b.*?</script\s*>",
        r"<link\b[^>]*>",
        r"<img\b[^>]*>",
        r"<style\b.*?</style\s*>",
        r"""\son\w+\s*=\s*("[^"]*"|'[^']*')""",
        r"<title>\s*</title>",
        r'<a data-toggle="collapse"[^>]*>.*?</a>',
        r"Data asset: None<br>",
        r"<p>Stay current on everything GX.*?</p>",
    )
)


@dataclass(frozen=True, kw_only=True)
class SuiteSummary:
    """A line of the index.

    Attributes:
        name: The suite.
        evaluated: Its expectations.
        failed: Those that failed.
    """

    name: str
    evaluated: int
    failed: int


def make_offline(site: Path, suites: Sequence[SuiteSummary]) -> Path:
    """Rewrite every page of a Data Docs site in place, and its index anew.

    Returns:
        The site's index page.
    """
    style = (_TEMPLATES / "data_docs.css").read_text(encoding="utf-8")
    head = f"{_POLICY}\n<style>\n{style}</style>\n</head>"
    index = site / "index.html"
    index.write_text(_index(site, suites), encoding="utf-8")
    for page in sorted(site.rglob("*.html")):
        text = page.read_text(encoding="utf-8")
        for pattern in _REMOVED:
            text = pattern.sub("", text)
        page.write_text(text.replace("</head>", head, 1), encoding="utf-8")
    shutil.rmtree(site / "static", ignore_errors=True)
    return index


def _index(site: Path, suites: Sequence[SuiteSummary]) -> str:
    lines = "\n".join(_line(site, suite) for suite in suites)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<title>Data Docs</title>
</head>
<body>
<nav class="navbar"><strong>Data Docs</strong></nav>
<div class="container-fluid">
<h1>Validation of a data version</h1>
<p class="lead">Great Expectations validated these suites. Each page lists the rows that failed.</p>
<table>
<thead><tr><th>Status</th><th>Suite</th><th>Expectations</th><th>Failed</th><th>Definition</th></tr>
</thead>
<tbody>
{lines}
</tbody>
</table>
</div>
</body>
</html>
"""


def _line(site: Path, suite: SuiteSummary) -> str:
    name = escape(suite.name)
    pages = sorted((site / "validations" / suite.name).rglob("*.html"))
    result = f'<a href="{pages[-1].relative_to(site).as_posix()}">{name}</a>' if pages else name
    status = (
        '<span class="text-danger">✗ failed</span>'
        if suite.failed
        else '<span class="text-success">✓ passed</span>'
    )
    return (
        f"<tr><td>{status}</td><td>{result}</td><td>{suite.evaluated}</td><td>{suite.failed}</td>"
        f'<td><a href="expectations/{name}.html">expectations</a></td></tr>'
    )
