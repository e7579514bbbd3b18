"""The rules of chess, as much as a broadcast of a game between UCI engines needs: moves applied and written down, check, mate
and draws. Squares are numbers from 0 (a1) to 63 (h8)."""

import re

START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
NAMES = {"p": "pawn", "n": "knight", "b": "bishop", "r": "rook", "q": "queen", "k": "king"}
WORTH = {"p": 1, "n": 3, "b": 3, "r": 5, "q": 9, "k": 0}
STRAIGHT, DIAGONAL = [(0, 1), (1, 0), (0, -1), (-1, 0)], [(1, 1), (1, -1), (-1, -1), (-1, 1)]
KNIGHT = [(1, 2), (2, 1), (2, -1), (1, -2), (-1, -2), (-2, -1), (-2, 1), (-1, 2)]
SLIDES = {"b": DIAGONAL, "r": STRAIGHT, "q": STRAIGHT + DIAGONAL}
STEPS = {"n": KNIGHT, "k": STRAIGHT + DIAGONAL}
# What a move from or to these squares takes away of the right to castle.
CASTLING = {0: "Q", 7: "K", 4: "KQ", 56: "q", 63: "k", 60: "kq"}


def square(name):
    return "abcdefgh".index(name[0]) + 8 * (int(name[1]) - 1)


def name(at):
    return "abcdefgh"[at % 8] + str(at // 8 + 1)


def white(man):
    return man.isupper()


class Board:
    """A position. `men[at]` is None or a letter as in FEN."""

    def __init__(self, fen=START):
        rows, turn, castling, passing, halfmoves, number = fen.split()
        self.men = [None] * 64
        for rank, row in zip(range(7, -1, -1), rows.split("/")):
            file = 0
            for letter in row:
                if letter.isdigit():
                    file += int(letter)
                else:
                    self.men[8 * rank + file] = letter
                    file += 1
        self.white_to_move = turn == "w"
        self.castling = castling.replace("-", "")
        self.passing = None if passing == "-" else square(passing)
        self.halfmoves, self.number = int(halfmoves), int(number)

    def copy(self):
        other = Board.__new__(Board)
        other.__dict__.update(self.__dict__, men=self.men[:])
        return other

    def key(self):
        """What a repetition has to repeat: en passant only where a pawn stands ready for it."""
        ready = self.passing is not None and any(to == self.passing and self.men[at] in "Pp" for at, to, _ in self.legal())
        return "".join(man or "." for man in self.men), self.white_to_move, self.castling, self.passing if ready else None

    def _reach(self, at, steps, far):
        file, rank = at % 8, at // 8
        for right, up in steps:
            x, y = file + right, rank + up
            while 0 <= x < 8 and 0 <= y < 8:
                to = 8 * y + x
                yield to
                if not far or self.men[to]:
                    break
                x, y = x + right, y + up

    def attacked(self, at, by_white):
        """Whether a man of that colour could take on this square."""
        def stands(squares, kinds):
            kinds = kinds.upper() if by_white else kinds
            return any(self.men[to] and self.men[to] in kinds for to in squares)
        pawns = [(-1, -1), (1, -1)] if by_white else [(-1, 1), (1, 1)]
        return (stands(self._reach(at, pawns, False), "p") or stands(self._reach(at, KNIGHT, False), "n")
                or stands(self._reach(at, STRAIGHT + DIAGONAL, False), "k")
                or stands(self._reach(at, STRAIGHT, True), "rq") or stands(self._reach(at, DIAGONAL, True), "bq"))

    def king(self, of_white):
        return self.men.index("K" if of_white else "k")

    def check(self):
        return self.attacked(self.king(self.white_to_move), not self.white_to_move)

    def _moves(self):
        """(from, to, promotion) by how men move, kings left in check or not."""
        mine = self.white_to_move
        for at, man in enumerate(self.men):
            if man is None or white(man) != mine:
                continue
            kind = man.lower()
            if kind == "p":
                yield from self._pawn(at, mine)
                continue
            reach = self._reach(at, SLIDES[kind], True) if kind in SLIDES else self._reach(at, STEPS[kind], False)
            for to in reach:
                if self.men[to] is None or white(self.men[to]) != mine:
                    yield at, to, None
            if kind == "k":
                yield from self._castle(at, mine)

    def _pawn(self, at, mine):
        up, home, last = (8, 1, 7) if mine else (-8, 6, 0)
        ends = []
        if self.men[at + up] is None:
            ends.append(at + up)
            if at // 8 == home and self.men[at + 2 * up] is None:
                ends.append(at + 2 * up)
        for to in self._reach(at, [(-1, 1 if mine else -1), (1, 1 if mine else -1)], False):
            if to == self.passing or self.men[to] and white(self.men[to]) != mine:
                ends.append(to)
        for to in ends:
            for promotion in "qrbn" if to // 8 == last else [None]:
                yield at, to, promotion

    def _castle(self, at, mine):
        for right, between, path in (("K", (1, 2), (0, 1, 2)), ("Q", (-1, -2, -3), (0, -1, -2))):
            if (right if mine else right.lower()) in self.castling and all(self.men[at + n] is None for n in between):
                if not any(self.attacked(at + n, not mine) for n in path):
                    yield at, at + path[2], None

    def legal(self):
        """All legal moves."""
        for move in self._moves():
            after = self.copy()
            after._play(*move)
            if not after.attacked(after.king(self.white_to_move), not self.white_to_move):
                yield move

    def parse(self, uci):
        """The legal move that an engine's `e2e4` or `e7e8q` names; None: there is none."""
        if not re.fullmatch(r"[a-h][1-8][a-h][1-8][qrbn]?", uci):
            return None
        move = square(uci[:2]), square(uci[2:4]), uci[4:] or None
        return move if move in list(self.legal()) else None

    def play(self, move):
        """Plays a legal move. Returns the man taken, and where a castling rook went (from, to)."""
        return self._play(*move)

    def _play(self, at, to, promotion):
        man, taken, rook = self.men[at], self.men[to], None
        if man in "Pp" and to == self.passing:
            behind = to + (-8 if white(man) else 8)
            taken, self.men[behind] = self.men[behind], None
        if man in "Kk" and abs(to - at) == 2:
            rook = (at + 3, at + 1) if to > at else (at - 4, at - 1)
            self.men[rook[1]], self.men[rook[0]] = self.men[rook[0]], None
        self.men[at] = None
        self.men[to] = man if promotion is None else promotion.upper() if white(man) else promotion
        gone = CASTLING.get(at, "") + CASTLING.get(to, "")
        self.castling = "".join(right for right in self.castling if right not in gone)
        self.passing = (at + to) // 2 if man in "Pp" and abs(to - at) == 16 else None
        self.halfmoves = 0 if man in "Pp" or taken else self.halfmoves + 1
        self.number += not self.white_to_move
        self.white_to_move = not self.white_to_move
        return taken, rook

    def san(self, move):
        """A legal move as people write it: `Nbd7`, `exd5`, `O-O`, `e8=Q+`."""
        at, to, promotion = move
        kind = self.men[at].upper()
        takes = self.men[to] is not None or kind == "P" and to == self.passing
        if kind == "K" and abs(to - at) == 2:
            text = "O-O" if to > at else "O-O-O"
        elif kind == "P":
            text = (name(at)[0] + "x" if takes else "") + name(to) + (f"={promotion.upper()}" if promotion else "")
        else:
            others = [other for other, there, _ in self.legal()
                      if there == to and other != at and self.men[other] == self.men[at]]
            here = ""
            if others:
                alone = all(other % 8 != at % 8 for other in others)
                here = name(at)[0] if alone else name(at)[1] if all(other // 8 != at // 8 for other in others) else name(at)
            text = kind + here + ("x" if takes else "") + name(to)
        after = self.copy()
        after.play(move)
        if not after.check():
            return text
        return text + ("+" if next(after.legal(), None) else "#")

    def drawn(self):
        """Why nobody can win any more, or nobody may go on; None: play on."""
        if self.halfmoves >= 100:
            return "fifty moves"
        rest = [(man.lower(), (at + at // 8) % 2) for at, man in enumerate(self.men) if man and man not in "Kk"]
        kinds = [kind for kind, _ in rest]
        if not rest or kinds in (["n"], ["b"]) or set(kinds) == {"b"} and len({shade for _, shade in rest}) == 1:
            return "nobody can mate"
        return None
