#!/usr/bin/env python3
"""Runs a game of Battlesnake with the official rules CLI and shows it, turn by turn as it is played, on a running
`agentcast serve`. Python 3.11, standard library only.

    AGENTCAST_KEY=key_… ./battlesnake_live.py -- --name Ada --url http://127.0.0.1:8000 --name Bob --url http://127.0.0.1:8001
    AGENTCAST_KEY=key_… ./battlesnake_live.py --bots 4                       four simple snakes of its own

What follows `--` goes to `battlesnake play`. The CLI's board server (--browser) has one reader and waits for it: this is it, so
nothing else may open the board.
"""

import argparse
import base64
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import agentcast_feed

# A dead snake stays on the board for this many turns.
DEAD_TURNS = 6
CAUSES = {"snake-self-collision": "ran into itself", "wall-collision": "hit the wall", "out-of-health": "starved",
          "hazard": "died in a hazard"}


class Board:
    """The CLI's board server: GET /games/ID, and a WebSocket with one message for each turn."""

    def __init__(self, address, game):
        self.address, self.path = address, f"/games/{game}"
        with urllib.request.urlopen(address + self.path, timeout=10) as answer:
            self.game = json.load(answer)["Game"]

    def messages(self):
        """Yields messages until the server ends the connection."""
        url = urllib.parse.urlsplit(self.address)
        with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
            nonce = base64.b64encode(os.urandom(16)).decode()
            connection.sendall((f"GET {self.path}/events HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\n"
                                f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n\r\n").encode())
            stream = connection.makefile("rb")
            if b" 101 " not in stream.readline():
                raise OSError("the board server takes no WebSocket")
            while stream.readline().strip():
                pass
            # A snake may take its time.
            connection.settimeout(120)
            text = b""
            while True:
                head = stream.read(2)
                if len(head) < 2:
                    return
                length = head[1] & 127
                if length > 125:
                    length = struct.unpack(">H" if length == 126 else ">Q", stream.read(2 if length == 126 else 8))[0]
                data = stream.read(length)
                kind = head[0] & 15
                if kind == 8 or len(data) < length:
                    return
                if kind in (0, 1):
                    text += data
                    if head[0] & 128:
                        yield json.loads(text)
                        text = b""


class Show:
    """Turns frames into the board of a match and the events beside it."""

    def __init__(self, info, feed, timeout):
        self.feed, self.timeout = feed, timeout
        self.width, self.height = info["Width"], info["Height"]
        self.rules, self.map = info.get("RulesetName", ""), info.get("Map", "")
        self.turn, self.snakes, self.food, self.hazards = None, {}, [], []
        self.out, self.trouble, self.winners = {}, {}, None

    def frame(self, frame):
        if self.turn is not None and frame["Turn"] <= self.turn:
            return
        first, follows = self.turn is None, self.turn is not None and frame["Turn"] == self.turn + 1
        before, lines = self.snakes, []
        self.turn, self.food, self.hazards = frame["Turn"], frame["Food"] or [], frame["Hazards"] or []
        now = {snake["ID"]: snake for snake in frame["Snakes"] or []}
        # In the order of the first frame: a seat is for the whole match.
        self.snakes = {id: now.get(id, snake) for id, snake in before.items()} | {
            id: snake for id, snake in list(now.items())[:8] if first or id in before}
        for id, snake in self.snakes.items():
            if id in self.out:
                continue
            self.trouble.pop(id, None)
            late = int(snake.get("Latency") or 0) >= self.timeout
            if snake.get("Error") and not first:
                words = snake["Error"].split(":", 1)[-1].strip()[:120]
                self.trouble[id] = ("timeout", f"no answer in {self.timeout} ms") if late else ("error", words)
                lines.append((id, f"{snake['Name']}: {self.trouble[id][1]}", 60))
            if follows:
                self.decided(id, before[id], snake)
                if snake["Health"] == 100 > before[id]["Health"] and not snake["Death"]:
                    lines.append((id, f"{snake['Name']} eats", 20))
            if snake.get("Shout"):
                self.feed.send("agent.thinking", {"side": id, "thoughtId": f"turn {self.turn}", "delta": snake["Shout"][:500],
                                                  "final": True}, "public")
            if snake["Death"]:
                self.out[id] = (snake["Death"].get("Turn", self.turn), self.cause(snake["Death"]))
                self.trouble.pop(id, None)
                lines.append((id, f"{snake['Name']} {self.out[id][1]}", 80))
        if first:
            self.feed.send("match.started", self.snapshot())
        else:
            self.feed.send("turn.started", {"turn": self.turn, "active": self.alive()})
            # The whole board each turn: whatever was lost before, the picture is right again.
            self.feed.send("state.snapshot", self.snapshot())
        for id, text, weight in lines:
            self.feed.send("feed", {"kind": "event", "text": text[:300], "actor": id, "importance": weight}, "public")

    def decided(self, id, before, now):
        (x, y), (head_x, head_y) = ((snake["Body"][0]["X"], snake["Body"][0]["Y"]) for snake in (before, now))
        step = lambda from_, to, edge: (to - from_) if abs(to - from_) != edge - 1 else (from_ > to) - (from_ < to)
        ways = {(0, 1): "up", (0, -1): "down", (-1, 0): "left", (1, 0): "right"}
        way = ways.get((step(x, head_x, self.width), step(y, head_y, self.height)))
        if way:
            status, reason = self.trouble.get(id, ("ok", ""))
            self.feed.send("action.decided", {"side": id, "text": way, "latencyMs": int(now.get("Latency") or 0), "status": status,
                                              "reason": reason}, "public")

    def cause(self, death):
        by = self.snakes.get(death.get("EliminatedBy"), {}).get("Name", "another snake")[:60]
        cause = death.get("Cause") or ""
        if cause in CAUSES:
            return CAUSES[cause]
        words = {"snake-collision": f"ran into the body of {by}", "head-collision": f"lost a head-on with {by}"}
        return words.get(cause, f"was eliminated: {cause.replace('-', ' ')[:40]}")

    def alive(self):
        return [id for id in self.snakes if id not in self.out]

    def end(self):
        """The server says that the game is over, not who won: whoever is alive, if it is one of several."""
        alive = self.alive()
        self.winners = alive if len(self.snakes) > 1 else []
        reason = "last snake standing" if self.winners else "nobody is left" if len(self.snakes) > 1 else "the game is over"
        self.feed.send("state.snapshot", self.snapshot())
        names = " and ".join(self.snakes[id]["Name"] for id in self.winners)
        text = f"{names} wins: {reason}" if self.winners else f"Draw: {reason}"
        self.feed.send("feed", {"kind": "event", "text": text[:300], "importance": 100}, "public")
        self.feed.send("match.ended", {"winners": self.winners, "reason": reason})
        print(text, flush=True)

    def place(self, point):
        """Column and row from the top; None outside the board, where the head of a snake is that hit the wall."""
        x, y = point["X"], self.height - 1 - point["Y"]
        return [x, y] if 0 <= x < self.width and 0 <= y < self.height else None

    def side(self, seat, id, snake):
        side = {"seat": seat, "name": snake["Name"][:200], "status": "active", "counters": [
            {"id": "health", "label": "Health", "value": max(0, min(100, snake["Health"])), "min": 0, "max": 100,
             "icon": "symbol:icon/heart"},
            {"id": "length", "label": "Len", "value": len(snake["Body"])}]}
        author = snake.get("Author", "")
        if author != "rules-cli":
            side["author"] = author.lstrip("@")[:200]
        if self.winners is not None and id in self.winners:
            side["status"] = "winner"
        elif id in self.out:
            side["status"], side["statusText"] = "eliminated", self.out[id][1]
        elif id in self.trouble:
            side["status"], side["statusText"] = self.trouble[id]
        return side

    def snapshot(self):
        places = lambda points: [place for place in map(self.place, points) if place]
        cells = [{"x": x, "y": y, "paint": "hazard"} for x, y in sorted({tuple(place) for place in places(self.hazards)})]
        cells += [{"x": x, "y": y, "id": f"food {x} {y}", "picture": "symbol:grid/food"} for x, y in places(self.food)]
        bodies = [{"id": id, "side": id, "cells": places(snake["Body"]), "dead": id in self.out, "vis": "public"}
                  for id, snake in self.snakes.items() if id not in self.out or self.turn < self.out[id][0] + DEAD_TURNS]
        bodies.sort(key=lambda body: not body["dead"])
        facts = [("Board", f"{self.width} × {self.height}"), ("Rules", self.rules), ("Map", self.map),
                 ("Time for a move", f"{self.timeout} ms")]
        return {"title": "Battlesnake", "round": self.rules.capitalize(), "game": {"id": "battlesnake", "name": "Battlesnake"},
                "phase": {"turn": self.turn or 0, "active": [] if self.winners is not None else self.alive()},
                "sides": {id: self.side(seat, id, snake) for seat, (id, snake) in enumerate(self.snakes.items())},
                "zones": {"board": {"kind": "grid", "cols": self.width, "rows": self.height, "ground": "field", "vis": "public",
                                    "cells": cells, "bodies": bodies}},
                "facts": [{"label": label, "text": text} for label, text in facts if text]}


class Bot(http.server.BaseHTTPRequestHandler):
    """A snake that goes where it does not die at once, and to the nearest food."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer({"apiversion": "1", "author": "agentcast", "color": "#3355aa"})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        self.answer(self.move(request["board"], request["you"]) if self.path == "/move" else {})

    def move(self, board, you):
        taken = {(p["x"], p["y"]) for snake in board["snakes"] for p in snake["body"][:-1]}
        stronger = {(p["head"]["x"] + dx, p["head"]["y"] + dy) for p in board["snakes"]
                    if p["id"] != you["id"] and p["length"] >= you["length"] for dx, dy in ((0, 1), (0, -1), (1, 0), (-1, 0))}
        head = you["head"]["x"], you["head"]["y"]
        def worth(way):
            x, y = head[0] + way[1][0], head[1] + way[1][1]
            if not (0 <= x < board["width"] and 0 <= y < board["height"]) or (x, y) in taken:
                return -1_000
            exits = sum((x + dx, y + dy) not in taken for dx, dy in ((0, 1), (0, -1), (1, 0), (-1, 0)))
            nearest = min((abs(f["x"] - x) + abs(f["y"] - y) for f in board["food"]), default=0)
            return exits * 10 - nearest - 50 * ((x, y) in stronger)
        ways = {"up": (0, 1), "down": (0, -1), "left": (-1, 0), "right": (1, 0)}
        way = max(ways.items(), key=worth)[0]
        return {"move": way}

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class BotServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """The CLI drops its connections when the game is over."""


def bots(count):
    """Starts simple snakes; what `battlesnake play` has to know of them."""
    arguments = []
    for name in ["Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Ginkgo", "Hazel"][:count]:
        server = BotServer(("127.0.0.1", 0), Bot)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arguments += ["--name", name, "--url", f"http://127.0.0.1:{server.server_port}"]
    return arguments


def start(command, arguments):
    """Starts the CLI. Returns it with the address of its board server and the id of the game."""
    path = shutil.which(command)
    if path is None:
        sys.exit(f"{command} is not installed: https://github.com/BattlesnakeOfficial/rules, or --battlesnake PATH")
    # It opens a browser at the board; without a PATH it finds none and says so, which does no harm.
    cli = subprocess.Popen([path, "play", "--browser", "--board-url", "http://127.0.0.1:9/", *arguments], text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", env={**os.environ, "PATH": ""})
    address, said = None, []
    for line in cli.stdout:
        said.append(line)
        address = address or re.search(r"Board server listening on (http://\S+)", line)
        game = re.search(r"Opening board URL: \S*[?&]game=([^&\s]+)", line)
        if address and game:
            # Nobody reads on: a full pipe would stop the game.
            threading.Thread(target=lambda: [None for _ in cli.stdout], daemon=True).start()
            return cli, address[1], game[1]
    sys.exit(f"battlesnake ended before the game began:\n{''.join(said[-5:])}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    agentcast_feed.arguments(parser)
    parser.add_argument("--battlesnake", default="battlesnake", help="the rules CLI (github.com/BattlesnakeOfficial/rules)")
    parser.add_argument("--bots", type=int, default=0, choices=range(9), metavar="N", help="simple snakes that join, up to 8")
    parser.add_argument("--timeout", type=int, default=500, help="ms for a move (500)")
    parser.add_argument("--pace", type=int, default=200, help="a turn takes at least this long, ms (200)")
    parser.add_argument("play", nargs="*", help="arguments for battlesnake play")
    options = parser.parse_args()
    key, agents = agentcast_feed.key(options), agentcast_feed.sides(options)
    arguments = ["--timeout", str(options.timeout), "--duration", str(options.pace)]
    cli, address, game = start(options.battlesnake, arguments + bots(options.bots) + options.play)
    try:
        board = Board(address, game)
        messages = board.messages()
        frame = next((message["Data"] for message in messages if message["Type"] == "frame"), None)
        if frame is None:
            sys.exit("the board server sent no turn")
        # Sides are the snakes' ids, which differ from game to game: agents are named by the snakes' names.
        ids = {snake["Name"]: snake["ID"] for snake in frame["Snakes"]}
        unknown = [name for name in agents if name not in ids]
        if unknown:
            sys.exit(f"--agent: no snake is called {', '.join(unknown)}; there are {', '.join(ids)}")
        feed = agentcast_feed.Feed(options.service, key, options.reference or f"snakes-{game}"[:64],
                                   options.title or "Battlesnake", {ids[name]: agent for name, agent in agents.items()})
        show = Show(board.game, feed, options.timeout)
        show.frame(frame)
        for message in messages:
            if message["Type"] == "frame":
                show.frame(message["Data"])
            elif message["Type"] == "game_end":
                break
        show.end()
        taken = feed.close(options.leave_open)
        cli.wait(10)
        return 0 if taken else 1
    except KeyboardInterrupt:
        return 130
    finally:
        if cli.poll() is None:
            cli.terminate()
            cli.wait()


if __name__ == "__main__":
    sys.exit(main())
