"""Feeds a match to a running `agentcast serve`, from a thread of its own. Python 3.11, standard library only.

The game never waits: `send` puts an event into a bounded queue and returns. The thread opens a session, posts what waits in
batches, and mends what goes wrong:

* the service is away: tried again after 0.5 s, growing to 10 s; what waits is posted then. Events are known by
  (epoch, seq), so one that is posted twice counts once;
* the queue is full, or the service asks for a snapshot: what waits is dropped and the newest board goes out whole;
* the token runs out: a new one is asked for; the session is gone: a new one is opened;
* too fast (429): waits as long as the service says;
* an event is refused: it is logged and left out, and a whole board follows.
"""

import collections
import http.client
import json
import os
import pathlib
import sys
import threading
import time
import urllib.parse

QUEUE = 2_000
BATCH = 50
TIMEOUT = 10.0
# A body is at most 64 KiB; a whole board of a large game may be most of that.
BODY = 60_000


def arguments(parser):
    """Adds what every example needs to an `argparse` parser."""
    parser.add_argument("--service", default=os.environ.get("AGENTCAST_URL", "http://127.0.0.1:8080"),
                        help="address of agentcast serve (AGENTCAST_URL)")
    parser.add_argument("--key-file", type=pathlib.Path,
                        help="file with an API key of role game; else AGENTCAST_KEY has it. Never an argument: others can read those")
    parser.add_argument("--agent", action="append", default=[], metavar="SIDE=AGENT",
                        help="which agent of the service plays a side: white=agt_…; once for each")
    parser.add_argument("--reference", help="the match's name in its events, 1 to 64 characters; made up when left out")
    parser.add_argument("--title", help="title of the match")
    parser.add_argument("--leave-open", action="store_true",
                        help="do not close the match when the game is over; a closed one can be watched no more")


def key(options):
    """The API key of the arguments or the environment."""
    text = options.key_file.read_text() if options.key_file else os.environ.get("AGENTCAST_KEY", "")
    if not text.strip():
        sys.exit("an API key of role game is needed: --key-file FILE or AGENTCAST_KEY")
    return text.strip()


def sides(options):
    """{"white": "agt_…"} of the arguments."""
    pairs = [text.split("=", 1) for text in options.agent]
    if any(len(pair) != 2 for pair in pairs):
        sys.exit("--agent: SIDE=AGENT, for example white=agt_…")
    return dict(pairs)


class Refused(Exception):
    """The service understood and said no."""

    def __init__(self, status, problem, retry_after):
        super().__init__(problem.get("detail") or f"HTTP {status}")
        self.status, self.problem, self.retry_after = status, problem, retry_after


class Feed:
    """One match. The newest whole board is the one last sent by `match.started` or `state.snapshot`, or given to `board`."""

    def __init__(self, service, key, reference, title, sides, log=None):
        self._service = urllib.parse.urlsplit(service)
        self._key, self._reference, self._board = key, reference, None
        self._match = {"reference": reference, "title": title, "sides": sides}
        self._log = log or (lambda words: print(f"agentcast: {words}", file=sys.stderr, flush=True))
        # A later run of the same game is newer than this one.
        self._epoch, self._seq = time.time_ns() // 1_000_000, 0
        self._waiting, self._lock, self._wake = collections.deque(), threading.Lock(), threading.Event()
        self._lost = self._closing = self._done = False
        self._connection = self._session = self._token = None
        self._trouble = None
        self.match_id, self.overlay_url = None, None
        self._thread = threading.Thread(target=self._run, name="agentcast feed", daemon=True)
        self._thread.start()

    def send(self, kind, data, vis=None):
        """Queues an event. Never waits and never fails."""
        with self._lock:
            if kind in ("match.started", "state.snapshot"):
                self._board = data
            if len(self._waiting) >= QUEUE:
                self._waiting.clear()
                self._lost = True
            self._waiting.append(self._event(kind, data, vis))
        self._wake.set()

    def board(self, board):
        """The whole board as it is now; sent only when something was lost."""
        with self._lock:
            self._board = board

    def close(self, leave_open=False, timeout=15.0):
        """Posts what waits, at most for `timeout` seconds, and ends the match for good. True: all of it was taken."""
        self._leave_open, self._closing = leave_open, True
        self._wake.set()
        self._thread.join(timeout)
        return self._done

    def _event(self, kind, data, vis=None):
        self._seq += 1
        event = {"v": 1, "match": self._reference, "epoch": self._epoch, "seq": self._seq,
                 "ts": time.time_ns() // 1_000_000, "type": kind, "data": data}
        return event if vis is None else event | {"vis": vis}

    def _run(self):
        pause = 0.5
        while True:
            if not self._waiting and not self._lost:
                if self._closing:
                    self._end()
                    return
                self._wake.wait(1.0)
                self._wake.clear()
                continue
            try:
                if self._token is None:
                    self._open()
                self._post()
                pause = 0.5
                if self._trouble:
                    self._trouble = None
                    self._log("the service takes the match again")
            except Refused as no:
                pause = self._mend(no, pause)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._hang_up()
                self._say(f"the service cannot be reached ({error or type(error).__name__}); the game goes on")
                pause = self._sleep(pause)
            except Exception as error:  # An answer that is none of agentcast's: no reason to end a game.
                self._hang_up()
                self._say(f"the service answers what nobody expected ({error!r}); the game goes on")
                pause = self._sleep(pause)

    def _end(self):
        """Nothing more comes: the service may forget the match when its time has come. Its streams stay on how it ended."""
        self._done = True
        if self.match_id is not None and not self._leave_open:
            try:
                self._call("POST", f"/v1/matches/{self.match_id}/end", self._key, "{}")
            except (Refused, OSError, http.client.HTTPException, ValueError) as error:
                self._log(f"the match was not ended: {error}")

    def _post(self):
        with self._lock:
            if self._lost:
                self._start_anew()
            batch, size = [], 0
            for event in self._waiting:
                text = json.dumps(event, separators=(",", ":"))
                if batch and (len(batch) == BATCH or size + len(text) > BODY):
                    break
                batch.append(text)
                size += len(text) + 1
            first = self._waiting[0]["seq"]
        report = self._call("POST", f"/v1/sessions/{self._session}/events", self._token, "[" + ",".join(batch) + "]")
        with self._lock:
            # Not if they were thrown away meanwhile.
            for _ in batch:
                if self._waiting and self._waiting[0]["seq"] < first + len(batch):
                    self._waiting.popleft()
            if report.get("needSnapshot"):
                self._lost = True

    def _start_anew(self):
        """What waits gives way to the whole board. The end of a match is kept: no board tells it."""
        last = [event for event in self._waiting if event["type"] == "match.ended"]
        self._waiting.clear()
        if self._board is not None:
            self._waiting.append(self._event("state.snapshot", self._board))
        self._waiting.extend(self._event(event["type"], event["data"], event.get("vis")) for event in last)
        self._lost = False

    def _leave_out(self, index):
        """Goes on behind an event that was refused: what follows gets new numbers, after the whole board as it is now."""
        refused = self._waiting[index]
        del self._waiting[index]
        if refused["type"] in ("match.started", "state.snapshot"):
            # It would be refused again.
            self._board = None
        rest = list(self._waiting)
        self._waiting.clear()
        if self._board is not None:
            self._waiting.append(self._event("state.snapshot", self._board))
        self._waiting.extend(self._event(event["type"], event["data"], event.get("vis")) | {"ts": event["ts"]} for event in rest)

    def _mend(self, no, pause):
        if no.status == 429:
            time.sleep(min(no.retry_after or pause, 30))
        elif no.status == 409 and no.problem.get("type", "").endswith("need-snapshot"):
            self._lost = True
        elif no.status in (401, 403, 404) and self._token is not None:
            # Run out, revoked, or another store: first a new token, then a new session.
            self._token = self._refresh()
        elif no.status == 422 and self._session is not None and no.problem.get("index") is not None:
            with self._lock:
                index = no.problem["index"]
                if index < len(self._waiting):
                    self._log(f"an event was refused and is left out: {no}")
                    self._leave_out(index)
        elif no.status >= 500:
            self._say(f"the service is in trouble ({no}); the game goes on")
            return self._sleep(pause)
        else:
            self._say(f"the service refuses the match ({no}); the game goes on")
            return self._sleep(max(pause, 5.0))
        return 0.5

    def _open(self):
        made = self._call("POST", "/v1/sessions", self._key, json.dumps({"scope": "feed", "match": self._match}))
        self._session, self._token = made["session"]["id"], made["token"]
        new = self.match_id is None
        self.match_id, self.overlay_url = made["match"]["id"], made["overlayUrl"]
        if not new:
            # Another match record: it has seen nothing yet.
            self._lost = True
        self._log(f"match {self.match_id}, session {self._session}")

    def _refresh(self):
        try:
            return self._call("POST", f"/v1/sessions/{self._session}/token", self._key, "{}")["token"]
        except Refused:
            return None

    def _call(self, method, path, bearer, body):
        url = self._service
        if self._connection is None:
            kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(url.hostname, url.port, timeout=TIMEOUT)
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        self._connection.request(method, url.path.rstrip("/") + path, body.encode(), headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status < 300:
            return json.loads(text)
        try:
            problem = json.loads(text)
        except ValueError:
            problem = {}
        wait = answer.getheader("Retry-After", "")
        raise Refused(answer.status, problem if isinstance(problem, dict) else {}, float(wait) if wait.isdigit() else None)

    def _hang_up(self):
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _sleep(self, pause):
        self._wake.wait(pause) if self._closing else time.sleep(pause)
        return min(pause * 2, 10.0)

    def _say(self, words):
        # Once, not at each try.
        if self._trouble is None:
            self._log(words)
        self._trouble = words
