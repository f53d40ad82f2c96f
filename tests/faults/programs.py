"""The services of a run: each writes its own life into a file that Cockpit does not know.

`web` answers requests, `crasher` ends by itself in every manner, `tick` does its work and ends with 0.
"""

from __future__ import annotations

from pathlib import Path

TRUTH = '''
import json, os, signal, sys, time
FD = os.open(os.environ["TRUTH"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
ME = os.getpid()
TICKS = int(open("/proc/self/stat", "rb").read().rpartition(b")")[2].split()[19])

def line(what, **more):
    doc = {"what": what, "pid": ME, "ticks": TICKS, "at": time.time(), **more}
    os.write(FD, json.dumps(doc).encode() + b"\\n")

def begin():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    env = os.environ
    line("start", host=env["COCKPIT_HOST"], unit=env["COCKPIT_RUN_MARK"], instance=env["COCKPIT_INSTANCE"],
         run=int(env["COCKPIT_RUN"]), ppid=os.getppid())

def term(seconds=None):
    """Waits for SIGTERM; False when it did not come in time."""
    if seconds is None:
        info = signal.sigwaitinfo({signal.SIGTERM})
    else:
        info = signal.sigtimedwait({signal.SIGTERM}, seconds)
    if info is None:
        return False
    line("term", by=info.si_pid)
    return True

def end(code=None, number=None):
    line("end", code=code, signal=number)
    if number is None:
        os._exit(code)
    signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
    os.kill(ME, number)
    signal.pause()
'''

WEB = '''
import http.server, os, threading, time
import truth
truth.begin()
BODY = os.environ["COCKPIT_INSTANCE"].encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False
    def server_bind(self):
        import socketserver
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]
server = Server((os.environ["COCKPIT_ADDRESS"], int(os.environ["COCKPIT_PORT_HTTP"])), Handler)
threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
truth.term()
time.sleep(0.3)
truth.end(0)
'''

CRASHER = '''
import random, signal
import truth
truth.begin()
chance = random.Random(f"{truth.os.environ['SEED']} {truth.os.environ['COCKPIT_INSTANCE']} {truth.TICKS}")
if truth.term(chance.uniform(0.8, 4.0)):
    truth.end(0)
if chance.random() < 0.3:
    truth.end(number=chance.choice([signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT]))
truth.end(chance.randint(1, 120))
'''

TICK = '''
import truth
truth.begin()
truth.term(1.5)
truth.end(0)
'''


def write(tree: Path) -> None:
    """The content of one release."""
    tree.mkdir()
    for name, text in (("truth", TRUTH), ("web", WEB), ("crasher", CRASHER), ("tick", TICK)):
        (tree / f"{name}.py").write_text(text)
