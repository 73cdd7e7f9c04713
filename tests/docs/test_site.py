"""The site builds without a warning, its links lead somewhere, and reading it loads nothing from elsewhere."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from repository import ROOT

pytestmark = [pytest.mark.site, pytest.mark.slow]
LOADED = {'script': 'src', 'img': 'src', 'iframe': 'src', 'source': 'src', 'video': 'src', 'audio': 'src',
          'object': 'data', 'embed': 'src', 'link': 'href'}
"""What a browser fetches when it shows a page."""


class Page(HTMLParser):
    """Links, anchors and resources of a page."""

    def __init__(self, file):
        super().__init__()
        self.links, self.anchors, self.resources, self.text = [], set(), [], ''
        self.feed(file.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[key] for key in ('id', 'name') if attributes.get(key)}
        if tag == 'a' and 'href' in attributes:
            self.links.append(attributes['href'])
        if tag in LOADED and attributes.get(LOADED[tag]):
            self.resources.append(attributes[LOADED[tag]])

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The built site, and its pages by file."""
    folder = tmp_path_factory.mktemp('site')
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(folder)], cwd=ROOT, text=True,
        capture_output=True, timeout=600, env={**os.environ, 'NO_MKDOCS_2_WARNING': '1', 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'WARNING' not in done.stderr
    return folder, {file: Page(file) for file in folder.rglob('*.html')}


def where(folder, file, link):
    """The file of the site that a link of a page leads to, and the anchor in it."""
    parts = urlsplit(link)
    start = folder if parts.path.startswith('/') else file.parent
    target = Path(os.path.normpath(start / unquote(parts.path).lstrip('/'))) if parts.path else file
    return (target / 'index.html' if target.is_dir() else target), unquote(parts.fragment)


def test_every_link_and_picture_of_the_site_exists(site):
    folder, pages = site
    assert len(pages) > 30
    broken = []
    for file, page in pages.items():
        if file.name == '404.html':  # Its links begin at the root of wherever the site is.
            continue
        for link in [*page.links, *page.resources]:
            if urlsplit(link).scheme in ('http', 'https', 'mailto', 'data'):
                continue
            target, anchor = where(folder, file, link)
            known = pages[target].anchors if target in pages else set()
            if not target.exists() or anchor and not anchor.startswith('__') and anchor not in known:
                broken.append(f'{file.relative_to(folder)}: {link}')
    assert broken == []


def test_reading_it_loads_nothing_from_elsewhere(site):
    folder, pages = site
    outside = re.compile(r'^(https?:)?//')
    assert [link for page in pages.values() for link in page.resources if outside.match(link)] == []
    for style in folder.rglob('*.css'):
        assert not re.findall(r'(?:url\(|@import)\s*["\']?(?:https?:)?//', style.read_text(encoding='utf-8')), style
    for file in folder.rglob('*.html'):
        assert 'fonts.googleapis' not in file.read_text(encoding='utf-8')


def test_files_of_the_build_are_not_on_it_and_pages_from_elsewhere_are(site):
    folder, pages = site
    names = {str(file.relative_to(folder)) for file in folder.rglob('*') if file.is_file()}
    assert not [name for name in names if name.endswith('.py') or name.startswith(('hooks/', 'study/'))]
    assert {'changelog.html', 'security.html', 'projects.html', 'pretrained.html', 'idea.png'} <= names
    assert 'Whose they are' in pages[folder / 'pretrained.html'].text
    # A link of such a page leads to a page of the site, one to a file that is no page is its name.
    assert 'study.html' in ' '.join(pages[folder / 'pretrained.html'].links)
    assert 'projects/demo/pipeline.py' in pages[folder / 'demo.html'].text
    assert not [link for link in pages[folder / 'demo.html'].links if 'pipeline' in link]


def test_the_reference_is_made_of_the_code(site):
    folder, pages = site
    tools = pages[folder / 'reference/tools.html'].text
    for tool in (ROOT / 'tools').glob('*.py'):
        assert f'usage: {tool.name}' in tools, tool
    models = pages[folder / 'reference/api/models.html']
    assert 'sdr_mm.models.SDRResNet' in models.anchors and 'Channels of the stem, which is not routed.' in models.text
    for page in (ROOT / 'docs/reference/api').glob('*.md'):
        built = pages[folder / 'reference/api' / f'{page.stem}.html']
        for name in re.findall(r'^::: (\S+)', page.read_text(encoding='utf-8'), re.M):
            assert name in built.anchors, name
        assert not re.search(r':(class|func|meth|mod|data|attr):|``', built.text), page


def test_it_can_be_searched(site):
    folder, _ = site
    index = json.loads((folder / 'search/search_index.json').read_text(encoding='utf-8'))
    assert any('ProgressiveTrainingHook' in entry['title'] for entry in index['docs'])
