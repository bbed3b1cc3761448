"""Chromium, and the dashboard in it: what it draws is read off its elements, and what goes wrong is noted."""

import os
import shutil
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from process import until

# No sandbox for root only, who cannot have one; and no request that the browser makes for itself.
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"] + (["--no-sandbox"] if os.geteuid() == 0 else [])

# All at one moment: between two frames the page draws everything anew.
DRAWN = """() => {
  const view = document.getElementById('view-activity');
  const all = (chart, what) => [...document.querySelectorAll(`[data-chart=${chart}] ${what}`)];
  const number = (text) => text === undefined ? null : Number(text);
  const found = {...view.dataset, busy: view.ariaBusy, series: {}, sizes: {}, names: {}, words: {}, shares: {}, totals: {}};
  for (const chart of ['events', 'users']) {
    const marks = all(chart, '.marks > *');
    found.series[chart] = marks.map((e) => [e.dataset.at, number(e.dataset.value)]);
    // How high each one is drawn, above the axis.
    const base = number(all(chart, '.axes line')[0]?.getAttribute('y1'));
    found.sizes[chart] = marks.map((e) => e.tagName === 'rect' ? number(e.getAttribute('height')) : base - number(e.getAttribute('cy')));
  }
  for (const chart of ['event_types', 'devices', 'pages', 'locations']) {
    const rows = all(chart, 'li');
    found.names[chart] = rows.map((e) => [e.dataset.name, number(e.dataset.value)]);
    found.words[chart] = rows.map((e) => [e.querySelector('.name').textContent, e.querySelector('.amount b').textContent]);
    found.shares[chart] = rows.map((e) => parseFloat(e.querySelector('.meter').style.getPropertyValue('--share')));
  }
  for (const total of ['events', 'users', 'sessions']) {
    const shown = view.querySelector(`[data-total=${total}]`);
    found.totals[total] = [number(shown.dataset.value), shown.textContent];
  }
  return found;
}"""


class Chromium:
    def __init__(self):
        path = os.environ.get("TIDEMILL_TEST_CHROMIUM") or shutil.which("chromium")
        assert path, "chromium is needed (Debian: chromium), or TIDEMILL_TEST_CHROMIUM"
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=path, args=FLAGS)

    def open(self, url, width=1280, height=900, **how):
        """A page with its own cookies and storage, as a new visitor sees it."""
        context = self._browser.new_context(viewport={"width": width, "height": height}, **how)
        context.set_default_timeout(60_000)  # machines of tests are busy
        return Dashboard(context, url)

    def close(self):
        self._browser.close()
        self._playwright.stop()


class Dashboard:
    def __init__(self, context, url):
        self.context, self.page = context, context.new_page()
        self.wrong, self.requests, self.asked = [], [], []
        origin = urlsplit(url)[:2]
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.wrong.append(said.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("requestfailed", lambda request: self.wrong.append(f"{request.url}: {request.failure}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("request", lambda request: urlsplit(request.url)[:2] == origin
                     or self.wrong.append(f"asked elsewhere: {request.url}"))
        self.page.on("response", lambda response: "/api/" in response.url or self.requests.append(response))
        self.page.goto(url)
        # What is lost if the page is loaded again.
        self.page.evaluate("window.loadedOnce = true")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def until(self, expression, seconds=30):
        """Waits until that JavaScript is true in the page; asked from outside, for the page's policy forbids `eval`."""
        until(lambda: self.page.evaluate(expression), seconds, f"in the page: {expression}")

    def until_drawn(self):
        self.until("document.querySelector('.view:not([hidden])')?.ariaBusy === 'false'")
        # What has not been read yet is no number to compare.
        self.until("document.getElementById('view-activity').dataset.loading === undefined")

    def until_state(self, state, seconds=30):
        self.until(f"document.getElementById('state').dataset.state === '{state}'", seconds)

    def drawn(self):
        return self.page.evaluate(DRAWN)

    def still_the_same(self):
        return self.page.evaluate("window.loadedOnce === true")

    def weight(self):
        """{path: bytes} of what the page is made of."""
        return {urlsplit(response.url).path: len(response.body()) for response in self.requests}

    def wider(self):
        """Pixels by which the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def violations(self):
        """What axe-core finds fault with: contrast, names, roles, order."""
        found = Axe().run(self.page).response["violations"]
        return [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"]][:3]) for one in found]

    def shot(self, name):
        """A picture, if somebody wants them."""
        if folder := os.environ.get("TIDEMILL_TEST_SHOTS"):
            self.page.screenshot(path=f"{folder}/{name}.png", full_page=True)
