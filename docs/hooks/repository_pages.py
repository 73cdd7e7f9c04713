"""MkDocs hook: pages that lie elsewhere in the repository, and links to files that are not on the site.

Pages are written so that their links work on a code host. On the site a link to another page leads there, and one to a
file that is no page becomes its name.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
    'SECURITY.md': 'security.md',
    'projects/README.md': 'projects.md',
    'sdr_mm/pretrained/README.md': 'pretrained.md',
}
"""Pages of the repository outside of docs/, and where they are on the site."""
HOME = {'README.md': 'index.md'}
"""What the site has in place of them."""

LINK = re.compile(r'(?P<code>```.*?```|`[^`\n]+`)|'
                  r'(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)', re.DOTALL)
log = logging.getLogger('mkdocs.hooks.repository_pages')


def on_files(files: Files, config: Any) -> Files:
    """Brings the pages from elsewhere."""
    for source, page in PAGES.items():
        if (ROOT / source).exists():
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Leads the links of a page to where they lead on the site."""
    return relink(markdown, page.file.src_uri)


def relink(markdown: str, page: str) -> str:
    """The text of a page of the site with links for the site."""
    source = {site: name for name, site in PAGES.items()}.get(page, f'docs/{page}')

    def replace(link: re.Match[str]) -> str:
        target, text = link['target'], link['text']
        if link['code'] or re.match(r'\w+:', target):
            return link[0]
        there = os.path.normpath(os.path.join(os.path.dirname(source), target))
        if there.startswith('..') or not (ROOT / there).exists():
            log.warning('%s links to %s, which does not exist', source, target)
            return link[0]
        on_site = {**PAGES, **HOME}.get(there) or (there.removeprefix('docs/') if there.startswith('docs/') else None)
        if on_site is None:
            return text if there in text.replace('`', '') else f'{text} (`{there}`)'
        return f'[{text}]({os.path.relpath(on_site, os.path.dirname(page) or ".")}{link["anchor"] or ""})'

    return LINK.sub(replace, markdown)
