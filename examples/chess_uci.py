#!/usr/bin/env python3
"""Two UCI engines play a game of chess, and a running `agentcast serve` shows it as it is played: clocks, moves, evaluations and
what the engines think. Python 3.11, standard library only.

    AGENTCAST_KEY=key_… ./chess_uci.py --white stockfish --black stockfish --base 60 --increment 1
        --agent white=agt_… --option "black:Skill Level=3"
"""

import argparse
import math
import queue
import shlex
import subprocess
import sys
import threading
import time

import agentcast_feed
from chess_board import NAMES, START, WORTH, Board, name, white

SIDES = ("white", "black")
# A thought grows by at most this many lines a second, and the bar of chances moves as often.
THINK_EVERY = 0.35
READY = 20.0


class EngineError(Exception):
    pass


class Engine:
    """A UCI engine in a process of its own."""

    def __init__(self, command, options):
        self.process = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1, errors="replace")
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.name = command
        self.say("uci")
        for line in self.until("uciok", READY):
            if line.startswith("id name "):
                self.name = line.removeprefix("id name ").strip()
        for option in options:
            key, _, value = option.partition("=")
            self.say(f"setoption name {key.strip()} value {value.strip()}")
        self.ready()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put(None)

    def say(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise EngineError(f"{self.name} is gone: {error}") from error

    def line(self, timeout):
        try:
            line = self.lines.get(timeout=max(timeout, 0.001))
        except queue.Empty:
            return ""
        if line is None:
            raise EngineError(f"{self.name} ended (exit code {self.process.wait()})")
        return line

    def until(self, word, timeout):
        """Yields lines up to the one that begins with the word."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            line = self.line(end - time.monotonic())
            if line.split(" ", 1)[0] == word:
                return
            if line:
                yield line
        raise EngineError(f"{self.name} does not say {word} within {timeout:.0f} s")

    def ready(self):
        self.say("isready")
        for _ in self.until("readyok", READY):
            pass

    def quit(self):
        try:
            self.say("quit")
            self.process.wait(2)
        except (EngineError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


def info(line):
    """What an `info` line says, or None: depth, score in centipawns or moves to mate, and the line of play."""
    words = line.split()
    if "score" not in words or "pv" not in words:
        return None
    try:
        at = words.index("score")
        kind, value = words[at + 1], int(words[at + 2])
        depth = int(words[words.index("depth") + 1]) if "depth" in words else 0
    except (ValueError, IndexError):
        return None
    if kind not in ("cp", "mate") or "multipv" in words and words[words.index("multipv") + 1] != "1":
        return None
    return depth, kind, value, words[words.index("pv") + 1:]


def spoken(kind, value):
    """A score as people write it, for the side that is ahead."""
    if kind == "mate":
        return f"M{abs(value)}"
    return "0.0" if abs(value) < 5 else f"+{abs(value) / 100:.1f}"


def chance(kind, value):
    """Win chance of the side whose score it is, 0 to 1: the logistic curve that Lichess fitted to its games."""
    if kind == "mate":
        return 1.0 if value > 0 else 0.0
    return 1 / (1 + math.exp(-0.00368208 * max(-2_000, min(2_000, value))))


class Game:
    """The game, and the board that is shown of it."""

    def __init__(self, names, base, increment, title):
        self.board, self.title, self.increment = Board(START), title, increment
        self.names = names
        self.left = {side: base * 1_000 for side in SIDES}
        self.ids = {at: f"{'white' if white(man) else 'black'}-{name(at)}" for at, man in enumerate(self.board.men) if man}
        self.last, self.shares, self.result = None, None, None
        self.moves, self.taken, self.spent = ({side: 0 for side in SIDES} for _ in range(3))
        self.seen = {}
        self.control = f"{base // 60}:{base % 60:02d} + {increment} s"
        self.running_since = None
        self.note()

    def mover(self):
        return "white" if self.board.white_to_move else "black"

    def note(self):
        key = self.board.key()
        self.seen[key] = self.seen.get(key, 0) + 1

    def play(self, move, took_ms):
        side = self.mover()
        at, to, promotion = move
        en_passant = self.board.men[at] in "Pp" and to == self.board.passing
        taken, rook = self.board.play(move)
        if en_passant:
            self.ids.pop(to - 8 if side == "white" else to + 8, None)
        self.ids[to] = self.ids.pop(at, f"{side}-{name(to)}")
        if rook:
            self.ids[rook[1]] = self.ids.pop(rook[0], f"{side}-{name(rook[1])}")
        self.left[side] = max(0, self.left[side] - took_ms) + self.increment * 1_000
        self.moves[side] += 1
        self.spent[side] += took_ms
        self.taken[side] += WORTH[taken.lower()] if taken else 0
        self.last = (at, to)
        self.note()

    def over(self):
        """(winner or None, reason), or None: play on."""
        loser = self.mover()
        if next(self.board.legal(), None) is None:
            return (SIDES[loser == "white"], "checkmate") if self.board.check() else (None, "stalemate")
        if max(self.seen.values()) >= 3:
            return None, "threefold repetition"
        drawn = self.board.drawn()
        return (None, drawn) if drawn else None

    def clock(self, side):
        clock = {"ms": max(0, self.left[side])}
        if self.running_since is not None and side == self.mover():
            return clock | {"asOf": self.running_since, "running": True}
        return clock

    def side(self, side):
        status = "active"
        if self.result:
            status = "winner" if side in self.result["winners"] else "active"
        elif self.running_since is not None and side == self.mover():
            status = "thinking"
        counters = [{"id": "moves", "label": "Moves", "value": self.moves[side]},
                    {"id": "captured", "label": "Captured", "value": self.taken[side]}]
        if self.moves[side]:
            mean = round(self.spent[side] / self.moves[side] / 1_000, 1)
            counters.append({"id": "average", "label": "Avg move", "value": mean, "unit": "s"})
        return {"seat": SIDES.index(side), "name": self.names[side], "role": side.capitalize(), "status": status,
                "clock": self.clock(side), "counters": counters}

    def zone(self):
        place = lambda at: {"x": at % 8, "y": 7 - at // 8}
        cells = [place(at) | {"paint": "last"} for at in self.last or ()]
        if self.board.check():
            cells.append(place(self.board.king(self.board.white_to_move)) | {"paint": "alert"})
        for at, man in enumerate(self.board.men):
            if man:
                side = "white" if white(man) else "black"
                cells.append(place(at) | {"id": self.ids[at], "picture": f"symbol:chess/{NAMES[man.lower()]}", "side": side,
                                          "tone": "light" if side == "white" else "dark"})
        return {"kind": "grid", "cols": 8, "rows": 8, "ground": "checker", "vis": "public", "cells": cells,
                "colLabels": list("abcdefgh"), "rowLabels": list("87654321")}

    def snapshot(self):
        """The whole board, as the wire format has it."""
        active = [] if self.result else [self.mover()]
        board = {"title": self.title, "game": {"id": "chess", "name": "Chess"},
                 "phase": {"turn": self.board.number, "turnLabel": "Move", "active": active},
                 "sides": {side: self.side(side) for side in SIDES}, "zones": {"board": self.zone()},
                 "facts": [{"label": "Time control", "text": self.control}]}
        if self.shares:
            board["eval"] = self.shares
        if self.result:
            board["result"] = self.result
        return board


class Show:
    """Plays the game and tells it."""

    def __init__(self, game, engines, feed, most):
        self.game, self.engines, self.feed, self.most = game, engines, feed, most
        self.uci = []

    def run(self):
        self.feed.send("match.started", self.game.snapshot())
        for engine in set(self.engines.values()):
            engine.say("ucinewgame")
            engine.ready()
        while True:
            over = self.game.over()
            if over is None and len(self.uci) >= self.most:
                over = (None, f"stopped after {self.most} half-moves")
            over = over or self.move()
            if over:
                return self.end(*over)

    def move(self):
        """One move; the end of the game if there is none."""
        game, side = self.game, self.game.mover()
        engine, other = self.engines[side], SIDES[side == "white"]
        game.running_since = time.time_ns() // 1_000_000
        self.feed.board(game.snapshot())
        self.feed.send("turn.started", {"turn": game.board.number, "active": [side],
                                        "clocks": {side: game.clock(side) for side in SIDES}})
        engine.say("position startpos" + (" moves " + " ".join(self.uci) if self.uci else ""))
        began = time.monotonic()
        engine.say(f"go wtime {game.left['white']} btime {game.left['black']} "
                   f"winc {game.increment * 1000} binc {game.increment * 1000}")
        best = self.listen(engine, side, began)
        took = round((time.monotonic() - began) * 1_000)
        game.running_since = None
        if best is None:
            engine.say("stop")
            game.left[side] = 0
            return other, "lost on time"
        move = game.board.parse(best)
        if move is None:
            self.feed.send("action.decided", {"side": side, "text": best[:20], "status": "invalid"}, "public")
            return other, f"illegal move {best[:20]}"
        number, text = game.board.number, game.board.san(move)
        game.play(move, took)
        self.uci.append(best)
        self.feed.send("action.decided", {"side": side, "text": text, "latencyMs": took}, "public")
        # The whole board: whatever was lost before, the picture is right again with each move.
        self.feed.send("state.snapshot", game.snapshot())
        line = f"{number}{'.' if side == 'white' else '...'} {text}"
        weight = 50 if text.endswith(("+", "#")) else 30
        self.feed.send("feed", {"kind": "move", "text": line, "actor": side, "importance": weight}, "public")
        print(line, flush=True)
        return None

    def listen(self, engine, side, began):
        """Tells what the engine thinks until it has a move. None: its time ran out."""
        thought, told, newest = f"{side}-{len(self.uci)}", 0.0, None
        deadline = began + self.game.left[side] / 1_000
        while True:
            # A short grace for pipes and a busy machine; the clock shows 0 by then.
            line = engine.line(min(0.1, deadline + 0.2 - time.monotonic()))
            if line.startswith("bestmove"):
                if newest:
                    self.think(side, thought, newest, True)
                return line.split()[1] if len(line.split()) > 1 else "(none)"
            if line.startswith("info "):
                newest = info(line) or newest
            if newest and time.monotonic() - told >= THINK_EVERY:
                told = time.monotonic()
                self.think(side, thought, newest, False)
                newest = None
            if time.monotonic() > deadline + 0.2:
                return None

    def think(self, side, thought, newest, final):
        depth, kind, value, line = newest
        ahead = side if value >= 0 else SIDES[side == "white"]
        share = chance(kind, value)
        other = SIDES[side == "white"]
        self.game.shares = {"shares": {side: share, other: 1 - share}, "text": spoken(kind, value)}
        self.feed.send("eval", self.game.shares)
        board, words = self.game.board.copy(), []
        for uci in line[:4]:
            move = board.parse(uci)
            if move is None:
                break
            words.append(board.san(move))
            board.play(move)
        text = f"{depth}: {' '.join(words)}  {ahead} {spoken(kind, value)}\n"
        self.feed.send("agent.thinking", {"side": side, "thoughtId": thought, "delta": text, "final": final}, "public")

    def end(self, winner, reason):
        game = self.game
        scores = {side: {"score": 0.5 if winner is None else float(side == winner)} for side in SIDES}
        game.result = {"winners": [winner] if winner else [], "reason": reason, "sides": scores}
        board = game.snapshot()
        # The result comes with the last event.
        del board["result"]
        self.feed.send("state.snapshot", board)
        score = "1/2-1/2" if winner is None else "1-0" if winner == "white" else "0-1"
        self.feed.send("feed", {"kind": "event", "text": f"{score} {reason}", "importance": 100}, "public")
        self.feed.send("match.ended", game.result)
        print(f"{score} {reason}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    agentcast_feed.arguments(parser)
    for side in SIDES:
        parser.add_argument(f"--{side}", default="stockfish", metavar="COMMAND", help="an engine, with its arguments")
        parser.add_argument(f"--{side}-name", help="its name on the picture; else what it calls itself")
    parser.add_argument("--option", action="append", default=[], metavar="SIDE:NAME=VALUE", help="a UCI option of an engine")
    parser.add_argument("--base", type=int, default=180, help="seconds on each clock (180)")
    parser.add_argument("--increment", type=int, default=2, help="seconds added with each move (2)")
    parser.add_argument("--most", type=int, default=600, help="half-moves after which the game is stopped as a draw (600)")
    options = parser.parse_args()
    key, agents = agentcast_feed.key(options), agentcast_feed.sides(options)
    engines = {}
    try:
        for side in SIDES:
            given = [text.partition(":")[2] for text in options.option if text.startswith(side + ":")]
            engines[side] = Engine(getattr(options, side), given)
        names = {side: getattr(options, f"{side}_name") or engines[side].name for side in SIDES}
        game = Game(names, options.base, options.increment, options.title or "Engine match")
        reference = options.reference or f"chess-{time.time_ns() // 1_000_000}"
        feed = agentcast_feed.Feed(options.service, key, reference, game.title, agents)
        show = Show(game, engines, feed, options.most)
        try:
            show.run()
        except EngineError as error:
            # Whose turn it was has lost; the match is told to its end.
            print(error, file=sys.stderr)
            show.end(SIDES[game.mover() == "white"], f"{game.mover()}'s engine failed")
        except KeyboardInterrupt:
            show.end(None, "stopped")
        return 0 if feed.close(options.leave_open) else 1
    except (EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for engine in engines.values():
            engine.quit()


if __name__ == "__main__":
    sys.exit(main())
