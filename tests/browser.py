"""Headless Chromium driven over a pipe (Chrome DevTools Protocol): what a page shows, logs and asks the network for."""

import base64
import contextlib
import json
import os
import shutil
import subprocess

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
TIMEOUT = 120  # seconds for a start on a busy machine


class Browser:
    """One page of a browser."""

    def __init__(self, to_browser, from_browser):
        self._to, self._from = to_browser, from_browser
        self._number, self._buffer, self.events = 0, b'', []
        self._session = None
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Network', 'Runtime', 'Log'):
            self.call(f'{domain}.enable')

    def call(self, method, **params):
        """Send a command; return its result, keeping the events that come before it."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._to, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._read()
            if answer.get('id') == self._number:
                assert 'error' not in answer, (method, answer['error'])
                return answer['result']
            self.events.append(answer)

    def _read(self):
        while b'\0' not in self._buffer:
            part = os.read(self._from, 2**20)
            assert part, 'the browser ended'
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b'\0')
        return json.loads(message)

    def open(self, url):
        """Load a page to its end."""
        self.events.clear()
        self.call('Page.navigate', url=url)
        while not any(event['method'] == 'Page.loadEventFired' for event in self.events):
            self.events.append(self._read())

    def run(self, script):
        """Return the value of an expression of JavaScript on the page."""
        found = self.call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def show_as(self, *, width=1280, height=900, scheme='light', media='screen'):
        """Set the size of the window in CSS pixels, the preferred color scheme, and screen or print."""
        self.call(
            'Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        feature = {'name': 'prefers-color-scheme', 'value': scheme}
        self.call('Emulation.setEmulatedMedia', media=media, features=[feature])

    def screenshot(self, file):
        """Save the whole page as PNG."""
        shot = self.call('Page.captureScreenshot', captureBeyondViewport=True)
        with open(file, 'wb') as opened:
            opened.write(base64.b64decode(shot['data']))

    def requests(self):
        """Return the addresses that were asked for, those inside the page left out."""
        asked = [
            each['params']['request']['url'] for each in self.events if each['method'] == 'Network.requestWillBeSent'
        ]
        return [url for url in asked if not url.startswith('data:')]

    def complaints(self):
        """Return what the console and the log of the browser say."""
        kinds = ('Runtime.consoleAPICalled', 'Runtime.exceptionThrown', 'Log.entryAdded')
        return [each['params'] for each in self.events if each['method'] in kinds]


@contextlib.contextmanager
def open_browser(profile):
    """Start Chromium with an empty profile in the folder `profile`, without network."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()

    def use_pipes():
        # The browser reads from 3 and writes to 4.
        first, second = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(first, 3)
        os.dup2(second, 4)

    process = subprocess.Popen(
        [
            CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe', '--no-first-run',
            '--disable-background-networking', '--disable-dev-shm-usage', '--host-resolver-rules=MAP * ~NOTFOUND',
            f'--user-data-dir={profile}',
        ],
        preexec_fn=use_pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        process.kill()
        process.wait()
        os.close(ours_in)
        os.close(ours_out)
