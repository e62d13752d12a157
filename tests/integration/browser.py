"""A headless Chromium, steered by its DevTools protocol: no driver, no package but the browser itself."""

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.request

import websockets

from brokers import wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")


class Browser:
    """One page. What goes wrong in it (exceptions, refused resources, error messages) is in `trouble`."""

    def __init__(self, directory):
        self.trouble = []
        self.answers, self.last_id = {}, 0
        self.process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={directory}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        wait_for("a browser", (directory / "DevToolsActivePort").exists, 60)
        port = wait_for("its port", (directory / "DevToolsActivePort").read_text).split()[0]
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list"))
        url = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.socket = self._run(self._connect(url))
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop)
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    async def _connect(self, url):
        return await websockets.connect(url, max_size=None)

    async def _listen(self):
        async for text in self.socket:
            message = json.loads(text)
            if "id" in message:
                self.answers[message["id"]] = message
            elif message["method"] == "Runtime.exceptionThrown":
                self.trouble.append(message["params"]["exceptionDetails"]["text"])
            elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.trouble.append(message["params"]["entry"]["text"])

    def call(self, method, **parameters):
        self.last_id += 1
        number = self.last_id
        self._run(self.socket.send(json.dumps({"id": number, "method": method, "params": parameters})))
        answer = wait_for(method, lambda: self.answers.pop(number, None))
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)

    def ask(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, selector):
        """What a person sees there."""
        return self.ask(f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText || ''")

    def wait_text(self, selector, wanted):
        return wait_for(f"{selector} to say {wanted!r}", lambda: wanted in self.text(selector))

    def click(self, selector):
        self.ask(f"document.querySelector({json.dumps(selector)}).click()")

    def picture(self, path):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def look_like(self, width, scheme="light"):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def close(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
