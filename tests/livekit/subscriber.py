"""A viewer made of LiveKit's own SDK: subscribes, decodes, and says what it got, one JSON object a line.

    subscriber.py WS-URL        the token is the first line of standard input

Further lines of standard input: `dump PATH` writes the next picture as raw I420, `say TOPIC TEXT` sends data, `summary` asks
for what was got so far, `end` (or the end of input) for the last summary. The marked test picture is read: a number in 16
blocks of luma at the top left, eight bits and their inverse, and a click in the sound whenever the number is a multiple of
PERIOD.

A gap has the pictures that are missing in it, by their numbers, and the time that this very process stood still, by a
heartbeat: a busy machine makes gaps too, and a test has to tell them from those that a viewer would see.
"""

import asyncio
import json
import math
import os
import sys
import time

import numpy as np
from livekit import rtc

BLOCK = 40  # px
PERIOD = 30  # pictures
NUMBERS = 240
GAP = 0.2  # s
BEAT = 0.02  # s
STALL = 0.07  # s; a heartbeat that is later than this
RATE = 48_000
LOUD = 8_000  # of 32,767; the tone below the clicks stays far under it
QUIET = 0.3  # s without loud samples before a click

began = time.monotonic()


def now():
    return time.monotonic() - began


def emit(event, **what):
    print(json.dumps({"event": event, "at": round(now(), 4), **what}), flush=True)


def number_of(luma):
    """The number in the picture, None when the blocks make no sense."""
    if luma.shape[1] < 16 * BLOCK or luma.shape[0] < BLOCK:
        return None
    edge, row = BLOCK // 4, luma[BLOCK // 4 : BLOCK - BLOCK // 4]
    bits = [int(row[:, k * BLOCK + edge : (k + 1) * BLOCK - edge].mean() > 125) for k in range(16)]
    value, inverse = (sum(bit << (7 - n) for n, bit in enumerate(half)) for half in (bits[:8], bits[8:]))
    return value if value ^ inverse == 0xFF else None


class Viewer:
    def __init__(self):
        self.frames = self.audio_frames = self.unreadable = self.missing = 0
        self.first = self.last = self.number = None
        self.size = (0, 0)
        self.gaps, self.stalls, self.flashes, self.clicks = [], [], [], []
        self.squares = self.samples = self.loud_at = 0
        self.dump = None

    async def watch(self, track):
        self.first, subscribed = None, now()
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.I420):
            at, frame = now(), event.frame
            # An unsubscribed track ends with a black picture of 2 x 2.
            if frame.width <= 2:
                continue
            if self.first is None:
                self.first = at
                emit("first_frame", ms=round((at - subscribed) * 1000), width=frame.width, height=frame.height)
            luma = np.frombuffer(frame.data, np.uint8, frame.width * frame.height).reshape(frame.height, frame.width)
            number, missing = number_of(luma), 0
            if number is None:
                self.unreadable += 1
            else:
                if self.number is not None and number != self.number:
                    missing = (number - self.number - 1) % NUMBERS
                if number != self.number and number % PERIOD == 0:
                    self.flashes.append(at)
                self.number = number
            if self.last is not None and at - self.last > GAP:
                self.gaps.append((self.last, at - self.last, missing))
                emit("gap", since=self.last, seconds=at - self.last, missing=missing)
            self.last, self.size = at, (frame.width, frame.height)
            self.frames += 1
            self.missing += missing
            if self.dump:
                path, self.dump = self.dump, None
                with open(path, "wb") as file:
                    file.write(frame.data)
                emit("dumped", path=path, width=frame.width, height=frame.height, number=number)

    async def listen(self, track):
        async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=2):
            at = now()
            sound = np.frombuffer(event.frame.data, np.int16).astype(np.float64)
            self.audio_frames += 1
            self.squares += float(np.dot(sound, sound))
            self.samples += len(sound)
            loud = np.flatnonzero(np.abs(sound[::2]) > LOUD)
            if len(loud):
                if at - self.loud_at > QUIET:
                    self.clicks.append(at + float(loud[0]) / RATE)
                self.loud_at = at

    def skews(self):
        """Sound after picture, ms, for each click that has a picture within half a period."""
        pairs = []
        for click in self.clicks:
            flash = min(self.flashes, key=lambda at: abs(at - click), default=math.inf)
            if abs(flash - click) < 0.45:
                pairs.append(round((click - flash) * 1000, 1))
        return pairs

    async def beat(self):
        while True:
            since = now()
            await asyncio.sleep(BEAT)
            if now() - since > BEAT + STALL:
                self.stalls.append((since + BEAT, now()))

    def stalled(self, since, seconds):
        """How much of a stretch of time this process stood still, s."""
        return sum(max(0, min(until, since + seconds) - max(at, since)) for at, until in self.stalls)

    async def report(self):
        frames, sounds, since = 0, 0, now()
        while True:
            await asyncio.sleep(1)
            at = now()
            rms = math.sqrt(self.squares / self.samples) if self.samples else 0
            self.squares = self.samples = 0
            emit(
                "second",
                fps=round((self.frames - frames) / (at - since), 1),
                frames=self.frames,
                audio=self.audio_frames - sounds,
                rms=round(rms),
                since_frame=round(at - self.last, 2) if self.last else None,
            )
            frames, sounds, since = self.frames, self.audio_frames, at

    def summary(self, counted):
        at = now()
        span = (self.last - self.first) if self.first is not None else 0
        # A picture that stands still for good is a gap too.
        still = [(self.last, at - self.last, 0)] if self.last is not None and at - self.last > GAP else []
        emit(
            "summary",
            frames=self.frames,
            last=self.last,
            fps=round((self.frames - 1) / span, 2) if span > 0 else 0,
            width=self.size[0],
            height=self.size[1],
            gaps=[(*gap, self.stalled(*gap[:2])) for gap in self.gaps + still],
            audio=self.audio_frames,
            unreadable=self.unreadable,
            missing=self.missing,
            skews=self.skews(),
            stats=counted,
        )


async def stats(room):
    """What the decoder counts of the picture; words of an error where it says nothing."""
    try:
        answer = await asyncio.wait_for(room.get_rtc_stats(), 10)
    except Exception as error:  # the SDK has no common class for it
        return {"error": type(error).__name__}
    # Which of the two has it depends on the SDK's choice of one peer connection or two.
    for entry in [*answer.subscriber_stats, *answer.publisher_stats]:
        if entry.WhichOneof("stats") == "inbound_rtp" and entry.inbound_rtp.stream.kind == "video":
            inbound, received = entry.inbound_rtp.inbound, entry.inbound_rtp.received
            return {
                "decoded": inbound.frames_decoded,
                "dropped": inbound.frames_dropped,
                "key": inbound.key_frames_decoded,
                "freezes": inbound.freeze_count,
                "frozen": round(inbound.total_freeze_duration, 3),
                "nack": inbound.nack_count,
                "pli": inbound.pli_count,
                "lost": received.packets_lost,
            }
    return {"error": "no statistics of a picture"}


async def main():
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    token = (await lines.readline()).decode().strip()
    room, viewer, tasks = rtc.Room(), Viewer(), []

    def start(work):
        def ended(task):
            if not task.cancelled() and task.exception():
                emit("failed", error=type(task.exception()).__name__, text=str(task.exception())[:500])

        tasks.append(asyncio.ensure_future(work))
        tasks[-1].add_done_callback(ended)

    @room.on("track_subscribed")
    def _(track, publication, participant):
        emit(
            "track_subscribed",
            kind="video" if track.kind == rtc.TrackKind.KIND_VIDEO else "audio",
            sid=publication.sid,
            name=publication.name,
            mime=publication.mime_type,
            identity=participant.identity,
            participant=participant.name,
            metadata=participant.metadata,
        )
        watch = viewer.watch if track.kind == rtc.TrackKind.KIND_VIDEO else viewer.listen
        start(watch(track))

    @room.on("data_received")
    def _(packet):
        emit(
            "data",
            topic=packet.topic,
            reliable=packet.kind == rtc.DataPacketKind.KIND_RELIABLE,
            identity=packet.participant.identity if packet.participant else None,
            bytes=len(packet.data),
            text=packet.data.decode("utf-8", "replace"),
        )

    @room.on("disconnected")
    def _(reason):
        emit("disconnected", reason=rtc.DisconnectReason.Name(reason))

    @room.on("room_metadata_changed")
    def _(_old, new):
        emit("room_metadata", text=new)

    @room.on("participant_disconnected")
    def _(participant):
        reason = participant.disconnect_reason
        emit(
            "participant_disconnected",
            identity=participant.identity,
            reason=rtc.DisconnectReason.Name(reason) if reason is not None else None,
        )

    def plain(name):
        def tell(*what):
            of = next((x for x in what if hasattr(x, "identity")), None)
            track = next((x for x in what if hasattr(x, "sid") and not hasattr(x, "identity")), None)
            emit(name, identity=getattr(of, "identity", None), sid=getattr(track, "sid", None))

        room.on(name, tell)

    for name in (
        "participant_connected",
        "track_published",
        "track_unpublished",
        "track_unsubscribed",
        "track_muted",
        "track_unmuted",
        "reconnecting",
        "reconnected",
    ):
        plain(name)

    await room.connect(sys.argv[1], token, rtc.RoomOptions(auto_subscribe=True))
    emit("connected", room=room.name, metadata=room.metadata)
    start(viewer.report())
    start(viewer.beat())
    while line := (await lines.readline()).decode().strip():
        command, _, rest = line.partition(" ")
        if command == "dump":
            viewer.dump = rest
        elif command == "say":
            topic, _, text = rest.partition(" ")
            await room.local_participant.publish_data(text, reliable=True, topic=topic)
        elif command == "summary":
            viewer.summary(await stats(room))
        elif command == "end":
            break
    viewer.summary(await stats(room))
    await asyncio.wait_for(room.disconnect(), 3)


code = 0
try:
    asyncio.run(main())
except Exception as error:
    emit("failed", error=type(error).__name__, text=str(error)[:500])
    code = 1
finally:
    sys.stdout.flush()
    # The SDK's threads may hang or crash while Python unloads them.
    os._exit(code)
