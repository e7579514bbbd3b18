"""Joins a room by LiveKit's own SDK and prints a line for every decoded picture: "<unix time, us> <mean luma of its middle>".

flashes.py URL, the token in LIVEKIT_TOKEN; ends when its standard input does.
"""

import asyncio
import os
import sys
import time

import numpy
from livekit import rtc


async def pictures(track: rtc.Track) -> None:
    async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.I420):
        now = time.time_ns() // 1000
        frame = event.frame
        luma = numpy.frombuffer(frame.data, dtype=numpy.uint8)[: frame.width * frame.height]
        luma = luma.reshape(frame.height, frame.width)
        h, w = frame.height, frame.width
        middle = luma[h * 2 // 5 : h * 3 // 5 : 4, w * 2 // 5 : w * 3 // 5 : 4]
        print(now, int(middle.mean()), flush=True)


async def main() -> None:
    room = rtc.Room()
    tasks = []

    @room.on("track_subscribed")
    def subscribed(track, _publication, _participant):
        if track.kind == rtc.TrackKind.KIND_VIDEO:
            tasks.append(asyncio.ensure_future(pictures(track)))

    await room.connect(sys.argv[1], os.environ["LIVEKIT_TOKEN"])
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await room.disconnect()


asyncio.run(main())
# The SDK's threads may hold the interpreter's end up.
os._exit(0)
