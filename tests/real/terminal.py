"""A program in a pseudo terminal, and what it shows there."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading

import pyte

from process import _die_with_parent, until


class Terminal:
    """Runs a program as a terminal's user would; what it draws is kept as a screen of so many columns and lines."""

    def __init__(self, argv, env, columns=80, lines=24):
        self.ours, theirs = pty.openpty()
        self.screen = pyte.Screen(columns, lines)
        self.stream, self.lock, self.bytes = pyte.ByteStream(self.screen), threading.Lock(), b""
        self._size(columns, lines)
        self.before = termios.tcgetattr(theirs)

        def alone():
            _die_with_parent()
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.popen = subprocess.Popen([str(a) for a in argv], stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=alone,
                                      env={"TERM": "xterm-256color", **{k: str(v) for k, v in env.items()}})
        self.theirs = theirs  # kept open, so that its settings can be asked for afterwards
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                some = os.read(self.ours, 65_536)
            except OSError:
                return
            with self.lock:
                self.bytes += some
                self.stream.feed(some)

    def _size(self, columns, lines):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns, lines):
        with self.lock:
            self.screen.resize(lines, columns)
        self._size(columns, lines)

    def lines(self):
        with self.lock:
            return [line.rstrip() for line in self.screen.display]

    def colours(self):
        """The colours of all that is shown, but the terminal's own."""
        with self.lock:
            cells = [cell for row in self.screen.buffer.values() for cell in row.values()]
            return {colour for cell in cells for colour in (cell.fg, cell.bg)} - {"default"}

    def shows(self, what, seconds=20):
        """Waits until something that `what` finds in the lines is shown, and gives it back."""
        try:
            return until(lambda: what(self.lines()), seconds, "it is shown")
        except TimeoutError:
            raise AssertionError("not shown:\n" + "\n".join(self.lines())) from None

    def has(self, text, seconds=20):
        return self.shows(lambda lines: next((line for line in lines if text in line), None), seconds)

    def press(self, keys):
        os.write(self.ours, keys.encode())

    def signal(self, number):
        self.popen.send_signal(number)

    def wait(self, seconds=5):
        code = self.popen.wait(seconds)
        until(lambda: self.bytes.endswith(b"\x1b[?25h") or b"\x1b[?1049l" in self.bytes, 2, "all is read")
        return code

    def restored(self):
        """The terminal is as it was: its settings, its own screen, a cursor."""
        left, shown = self.bytes.rfind(b"\x1b[?1049l"), self.bytes.rfind(b"\x1b[?25h")
        entered, hidden = self.bytes.rfind(b"\x1b[?1049h"), self.bytes.rfind(b"\x1b[?25l")
        return termios.tcgetattr(self.theirs) == self.before and left > entered >= 0 and shown > hidden >= 0

    def close(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGKILL)
            self.popen.wait(10)
        os.close(self.theirs)
        os.close(self.ours)
