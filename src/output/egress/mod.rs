//! RTMP(S) through LiveKit's Egress service: a second encode elsewhere, of what [`super::livekit`] publishes.
