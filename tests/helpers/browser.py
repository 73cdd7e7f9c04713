"""A real browser without a window, for pages that are made here."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

OPTIONS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
           '--disable-background-networking', '--disable-component-update', '--disable-sync')


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's browser, with the Chromium that is installed; nothing is downloaded."""
    found = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if found is None:
        pytest.fail("there is no Chromium: install it (apt-get install chromium), or pass -m 'not browser'",
                    pytrace=False)
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=OPTIONS)
        yield browser
        browser.close()


class Page:
    """A file that is open in a tab, and what went wrong in it.

    Args:
        browser: As :func:`chromium` gives it.
        file (Path): The file.
        width (int): Of the window in pixels. Defaults to 1440.
        **options: Of the context, such as ``color_scheme``.

    Attributes:
        tab: Playwright's page.
        complaints (list[str]): What the console and scripts said.
        requests (list[str]): What was asked for, but the file and what it holds itself.
    """

    def __init__(self, browser: Any, file: Path, width: int = 1440, **options: Any) -> None:
        self.context = browser.new_context(viewport=dict(width=width, height=900), **options)
        self.tab = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.tab.on('console', lambda message: self.complaints.append(message.text))
        self.tab.on('pageerror', lambda error: self.complaints.append(str(error)))
        self.tab.on('request', lambda request: self.requests.append(request.url))
        self.tab.goto(file.as_uri())
        self.requests = [url for url in self.requests if url != file.as_uri() and not url.startswith('data:')]

    def __enter__(self) -> 'Page':
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()

    def count(self, selector: str) -> int:
        return self.tab.locator(selector).count()

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.tab.locator(selector).all_text_contents()]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return self.tab.evaluate('document.documentElement.scrollWidth - window.innerWidth')

    def colors(self) -> list[tuple[str, str, str]]:
        """Of each text that is shown: the text, its color and that of what is behind it, as ``rgb(…)``."""
        return [tuple(item) for item in self.tab.evaluate(COLORS)]


COLORS = """() => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest('script, style, title, desc')) continue;
    if (!parent.getClientRects().length) continue;
    const style = getComputedStyle(parent);
    let behind = parent;
    while (behind && getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
    found.push([node.textContent.trim(), parent.closest('svg') ? style.fill : style.color,
                getComputedStyle(behind || document.documentElement).backgroundColor]);
  }
  return found;
}"""


def contrast(one: str, other: str) -> float:
    """Of two colors ``rgb(r, g, b)``, as WCAG 2 defines it: from 1 to 21."""
    def luminance(color: str) -> float:
        assert color.startswith('rgb('), f'{color} is not opaque'
        parts = [int(part) / 255 for part in color[4:-1].split(',')]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
