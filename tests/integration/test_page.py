"""The live page in a real browser: idle, busy, through a drain to its end; on a phone, in the dark; and who
sees buttons."""

import os
import signal
import unittest
from pathlib import Path

from browser import CHROMIUM, Browser
from brokers import folder
from test_admin import TIGHT, TOKEN, AdminCase
from worker import wait_for

PICTURES = os.environ.get("OUTFALL_TEST_PICTURES")  # a folder: what was seen is kept there


@unittest.skipUnless(CHROMIUM, "LOUD SKIP: no Chromium here")
class Page(AdminCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.browser = Browser(folder("browser"))

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.browser.open("about:blank")
        self.browser.look_like(1200)
        self.browser.trouble.clear()

    def visit(self):
        self.browser.open(f"http://127.0.0.1:{self.port}/")
        self.browser.wait_text("#connection", "live")

    def picture(self, name):
        if PICTURES:
            self.browser.picture(Path(PICTURES) / f"{name}.png")

    def visible(self):
        """The words on the buttons that can be seen."""
        return self.browser.ask(
            "[...document.querySelectorAll('button')].filter(b => b.offsetParent).map(b => b.innerText)"
        )

    def test_from_idle_through_a_drain_to_the_end(self):
        worker = self.start_admin(drain='timeout = "60s"')
        self.visit()
        browser = self.browser
        browser.wait_text("#state", "Taking jobs")
        browser.wait_text("#sources", "consuming")
        self.assertEqual(browser.text("#running-more"), "nothing")
        self.picture("idle")
        self.queue.publish([f"j{n}:gate:{self.gate(f'gate{n}')}" for n in range(2)])
        wait_for("both to be shown", lambda: browser.ask("document.querySelectorAll('#running > li').length") == 2)
        self.picture("busy")
        worker.send(signal.SIGTERM)
        browser.wait_text("#state", "running jobs finish")
        browser.wait_text("#why", "because of SIGTERM")
        browser.wait_text("#phases .now", "finishing")
        browser.wait_text("#blockers", "2 running")
        self.assertIn("exit at the latest in", browser.text("#facts"))
        self.picture("draining")
        self.open_gate("gate0")
        browser.wait_text("#blockers", "1 running")
        self.open_gate("gate1")
        self.assertEqual(worker.wait_exit(), 0)
        browser.wait_text("#state", "Drained")
        browser.wait_text("#connection", "the worker has ended")  # closed with 1001, or it would not say so
        self.assertIn("exit code\n0", browser.text("#facts"))
        self.assertEqual(browser.text("#phases .now"), "closed")
        self.picture("finished")
        refused = [what for what in browser.trouble if "ERR_CONNECTION_REFUSED" not in what]
        self.assertEqual(refused, [])  # it looks for the next worker, in vain here

    def test_an_interrupted_drain_is_told(self):
        worker = self.start_busy(drain=TIGHT)
        self.visit()
        worker.send(signal.SIGTERM)
        self.assertEqual(worker.wait_exit(), 10)
        self.browser.wait_text("#state", "Drained")
        self.browser.wait_text("#facts", "exit code\n10")

    def test_a_phone_and_the_dark(self):
        self.queue.publish([f"a-job-with-a-rather-long-name-{n}:gate:{self.gate()}" for n in range(3)])
        self.start_admin()
        self.record.wait_begun(3)
        backgrounds = set()
        for scheme in ("light", "dark"):
            self.browser.look_like(360, scheme)
            self.visit()
            self.browser.wait_text("#running-count", "3")
            self.picture(f"phone-{scheme}")
            self.assertLessEqual(self.browser.ask("document.documentElement.scrollWidth"), 360)
            heights = self.browser.ask("[...document.querySelectorAll('#phases li')].map(li => li.clientHeight)")
            self.assertEqual(len(set(heights)), 1)  # no word is broken
            backgrounds.add(self.browser.ask("getComputedStyle(document.body).backgroundColor"))
        self.assertEqual(len(backgrounds), 2)
        self.open_gate()
        self.assertEqual(self.browser.trouble, [])  # also from the Content-Security-Policy

    def test_buttons_are_for_those_who_may(self):
        self.start_admin()
        self.visit()
        self.browser.wait_text("#state", "Taking jobs")
        self.assertEqual(self.visible(), [])
        self.assertEqual(self.browser.trouble, [])

    def test_steering_with_a_token(self):
        worker = self.start_admin(token=True)
        self.visit()
        browser = self.browser
        wait_for("buttons", lambda: self.visible() == ["Quiet", "Drain"])
        browser.click("[data-post=quiet]")
        browser.wait_text("#answer", "the token is missing or wrong")
        browser.ask(f"document.querySelector('#token').value = '{TOKEN}'")
        browser.click("[data-post=quiet]")
        browser.wait_text("#state", "Quiet")
        wait_for("other buttons", lambda: self.visible() == ["Resume", "Drain"])
        browser.click("[data-post=resume]")
        browser.wait_text("#state", "Taking jobs")
        browser.ask("window.confirm = () => true")
        browser.click("[data-post=drain]")
        self.assertEqual(worker.wait_exit(), 0)
        browser.wait_text("#why", "because of POST /drain")

    def test_it_can_be_read_aloud(self):
        """Each bar, table, list and field has a name for those who do not see it."""
        self.start_busy()
        self.visit()
        wait_for("the job", lambda: self.browser.ask("document.querySelectorAll('[role=progressbar]').length") == 1)
        nodes = self.browser.call("Accessibility.getFullAXTree")["nodes"]
        named = ("progressbar", "button", "textbox", "region", "columnheader", "rowheader", "heading")
        for node in nodes:
            role = node.get("role", {}).get("value")
            if role in named and not node.get("ignored"):
                self.assertTrue(node.get("name", {}).get("value"), node)
        self.assertTrue(any(node.get("role", {}).get("value") == "progressbar" for node in nodes))
        self.open_gate()


if __name__ == "__main__":
    unittest.main(verbosity=2)
