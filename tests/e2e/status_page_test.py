"""The status page in a headless browser: live numbers, no complaints on the console, nothing that runs from a name.

Environment: REPRISE_STATUS_PAGE_DEMO (a binary that serves made-up numbers; set by CTest), or REPRISE_ADMIN_URL (the
admin address of a running server; then only what holds for any server is looked at). REPRISE_SCREENSHOT_DIR: where
screenshots are left. REPRISE_SCREENSHOT_AFTER: seconds to watch before they are taken, so that charts have a past.
"""

import os
import pathlib
import shutil
import subprocess
import time
import unittest

from chromium import Browser

DEMO = os.environ.get("REPRISE_STATUS_PAGE_DEMO")
URL = os.environ.get("REPRISE_ADMIN_URL")
SCREENSHOTS = os.environ.get("REPRISE_SCREENSHOT_DIR")
AFTER = float(os.environ.get("REPRISE_SCREENSHOT_AFTER", "0"))
TOKEN = "a-token-of-enough-bytes"

POLLS = "Number(document.body.dataset.polls || 0)"
TEXT = "document.getElementById('{}').innerText"


@unittest.skipUnless(shutil.which("chromium"), "chromium is not installed: ./dev test long does")
class StatusPage(unittest.TestCase):
    def browser(self, **kwargs):
        browser = Browser(**kwargs)
        self.addCleanup(browser.close)
        return browser

    def demo(self, *arguments):
        """The address of a demo that ends with the test."""
        process = subprocess.Popen([DEMO, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        return process.stdout.readline().strip()

    def check_sound(self, browser):
        self.assertEqual(browser.problems, [])
        self.assertNotRegex(browser.evaluate("document.body.innerText"), "NaN|undefined|Infinity|null")
        cut = browser.evaluate("""[...document.querySelectorAll('svg text')].filter(text => {
            const inside = text.getBoundingClientRect(), chart = text.ownerSVGElement.getBoundingClientRect();
            return inside.left < chart.left - 1 || inside.right > chart.right + 1;
        }).map(text => text.textContent)""")
        self.assertEqual(cut, [], "labels that leave their chart")

    def test_live_numbers(self):
        browser = self.browser()
        browser.open(URL or self.demo())
        browser.wait_for(f"{POLLS} >= 2")
        seen = {name: browser.evaluate(TEXT.format(name)) for name in ("tiles", "tenants", "messages", "sessions")}
        self.assertIn("hit ratio", seen["tiles"])
        self.assertIn("memory", seen["tenants"])
        browser.wait_for(f"{POLLS} >= 5")
        self.check_sound(browser)
        if URL:
            return
        self.assertIn("search", seen["tenants"])
        self.assertIn("acquire", seen["messages"])
        self.assertIn("Llama-3.1-70B", browser.evaluate(TEXT.format("namespaces")))
        for chart in ("hits", "bytes", "latency", "left"):
            lines = browser.evaluate(f"document.querySelectorAll('#chart-{chart} path').length")
            self.assertGreaterEqual(lines, 2, chart)
        for name, before in seen.items():
            self.assertNotEqual(browser.evaluate(TEXT.format(name)), before, f"{name} stands still")
        # A number on the page is what the server says, not only something that moves.
        shown, served = browser.evaluate("""(async () => {
            const stats = await (await fetch('v1/stats')).json();
            return [document.querySelector('#tile-memory em').innerText, stats.totals.cache.l1];
        })()""")
        self.assertTrue(shown.endswith(f"of {served['capacity_bytes'] / 2**30:.1f} GiB"), shown)

    @unittest.skipUnless(DEMO, "needs the demo")
    def test_a_server_that_was_asked_nothing(self):
        browser = self.browser()
        browser.open(self.demo("--traffic", "none"))
        browser.wait_for(f"{POLLS} >= 3")
        self.check_sound(browser)
        self.assertEqual(browser.evaluate(TEXT.format("state")), "starting")
        self.assertIn("Nobody is connected.", browser.evaluate(TEXT.format("sessions")))

    @unittest.skipUnless(DEMO, "needs the demo")
    def test_names_of_clients_are_text(self):
        browser = self.browser()
        browser.open(self.demo())
        browser.wait_for(f"{POLLS} >= 2")
        self.assertIn("<img src=x onerror=alert(1)>", browser.evaluate(TEXT.format("sessions")))
        self.assertEqual(browser.evaluate("document.querySelectorAll('img').length"), 0)
        # Even markup that got in would not run: the policy knows the page's own script only.
        button = '<button id=x onclick="window.ran = 1">x</button>'
        browser.evaluate(f"document.body.insertAdjacentHTML('beforeend', '{button}')")
        browser.evaluate("document.getElementById('x').click()")
        self.assertIsNone(browser.evaluate("window.ran"))

    @unittest.skipUnless(DEMO, "needs the demo")
    def test_asks_for_the_token(self):
        browser = self.browser()
        url = self.demo("--token", TOKEN)
        browser.open(url)
        browser.wait_for("!document.getElementById('gate').hidden")
        enter = "document.getElementById('token').value = '{}'; document.querySelector('#gate-form button').click()"
        browser.evaluate(enter.format("wrong"))
        browser.wait_for("document.getElementById('gate-note').innerText.includes('not accepted')")
        browser.evaluate(enter.format(TOKEN))
        browser.wait_for(f"{POLLS} >= 2")
        self.assertTrue(browser.evaluate("document.getElementById('gate').hidden"))
        browser.open(url)  # In the same tab it is still known.
        browser.wait_for(f"{POLLS} >= 1 && document.getElementById('gate').hidden")

    @unittest.skipUnless(DEMO, "needs the demo")
    def test_says_when_the_server_is_gone(self):
        browser = self.browser()
        process = subprocess.Popen([DEMO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with process:
            browser.open(process.stdout.readline().strip())
            browser.wait_for(f"{POLLS} >= 1")
        browser.wait_for("document.getElementById('state').innerText === 'not reachable'")
        self.assertIn("last heard of", browser.evaluate(TEXT.format("foot")))

    def test_fits_a_narrow_screen(self):
        browser = self.browser(width=420, height=900)
        browser.open(URL or self.demo())
        browser.wait_for(f"{POLLS} >= 2")
        self.assertLessEqual(browser.evaluate("document.documentElement.scrollWidth"), 420)

    @unittest.skipUnless(SCREENSHOTS, "REPRISE_SCREENSHOT_DIR is not set")
    def test_screenshots(self):
        browser = self.browser()
        browser.open(URL or self.demo())
        browser.wait_for(f"{POLLS} >= 4")
        time.sleep(AFTER)
        for scheme in ("light", "dark"):
            browser.scheme(scheme)
            path = pathlib.Path(SCREENSHOTS) / f"status-page-{scheme}.png"
            path.write_bytes(browser.screenshot())
            self.assertGreater(path.stat().st_size, 20_000)


if __name__ == "__main__":
    unittest.main()
