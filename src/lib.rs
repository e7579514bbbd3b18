//! agentcast turns the state of a match between AI agents into a broadcast.
//!
//! # The map
//!
//! Data flows one way, and the folders say so:
//!
//! ```text
//! game ──> overlay ──> draw ──> render ──> encode ──> output
//!  wire      scene      draw      GPU →      H.264,      RTMP(S), LiveKit
//!  events    from       list,     RGBA →     AAC,        rooms and Egress,
//!  → state   (state,    damage    NV12       Opus        file, preview
//!            time)
//!              raster = shaped text, glyph and picture pixels (beside draw)
//!                     stream = one broadcast: its threads, its clock, its life and death
//!                     livekit = a LiveKit server's API: tokens, rooms, egress jobs; webhook = what it tells
//!                     store, secure, config, server = the service: agents, keys, matches, who is on air
//!                     http, cli = the edge around it
//! ```
//!
//! One type for each thing that flows: [`game::Event`] → [`game::MatchState`] → [`draw::DrawList`] →
//! [`draw::Frame`] (NV12) → [`encode::EncodedPacket`] (an `Arc`: every destination gets the same one).
//!
//! | room | what lives there | it never knows |
//! |---|---|---|
//! | [`game`] | wire events, the match state and its reducer, views that hide what a viewer may not see, adapters from native game formats | pixels, clocks, threads, files |
//! | [`overlay`] | themes, layout, widgets and scenes: a pure function from (presentation, theme, scene, time, size) to a draw list | wgpu, ffmpeg, any particular game |
//! | [`draw`] | the draw list as data, and damage as the difference of two lists | wgpu, fonts, files |
//! | [`raster`] | fonts, shaping, fitting text; glyph, symbol and picture pixels | wgpu, widgets |
//! | [`render`] | executes draw lists on the GPU, NV12 conversion, read-back | scenes, games, ffmpeg |
//! | [`encode`] | H.264, AAC and Opus through FFmpeg, the frame clock | destinations, wgpu |
//! | [`output`] | destinations: RTMP(S), LiveKit rooms by WebRTC, RTMP through LiveKit's Egress, fragmented MP4, the preview's fragments | encoders, pictures |
//! | [`livekit`] | a LiveKit server from outside a room: address and key, tokens, RoomService, Egress requests, errors in words | media, streams |
//! | [`webhook`] | what a LiveKit server tells: verified, de-duplicated, reconciled with what it lists | media, streams |
//! | [`stream`] | one broadcast: threads, clock, start, stop, status | a concrete GPU, encoder or network |
//! | [`store`] | what the service must not forget: SQLite or PostgreSQL, the same SQL for both | HTTP, streams, keys in plain |
//! | [`secure`] | sealed stream keys, session tokens, API keys, which hosts may be connected to | files, sockets, clocks |
//! | [`config`] | the service's settings: flags over environment over file, each explained | what they do |
//! | [`server`] | the service: live matches, who should be on air and who is, operations with audit | HTTP, SQL |
//! | [`http`] | the service's API and pages, the preview page, the server they run in | pictures, packets, SQL |
//! | [`studio`] | puts a stream together from real parts, for the command line and for programs that link agentcast | what is drawn or sent |
//! | [`cli`] | the command line | – |
//!
//! # Invariants, as absences
//!
//! * Nothing in `game`, `overlay` or `draw` reads a clock, a file, the environment or a socket. Time is an argument.
//! * Nothing in `overlay` or below sees a card, thought or event that the stream's [`game::View`] may not see.
//! * Nothing outside `livekit`, `webhook`, `output::livekit`, `output::egress` and the command line's `check` and `serve` names
//!   LiveKit's crates, and nothing outside `output::livekit` names str0m.
//! * Nothing outside `render` names wgpu; nothing outside `encode` and the muxers of `output` names ffmpeg.
//! * No adapter room knows another one's library: `output` takes `encode`'s packet types and nothing of its encoders, and `stream`
//!   gets all of them handed in.
//! * Nothing outside `store` names sqlx; nothing outside `http`, `webhook` and `cli` names axum.
//! * No unbounded queue carries media.
//! * A stream key has no `Display`, and its `Debug` prints nothing of it; so it is with a LiveKit server's secret and its tokens.

pub mod cli;
pub mod config;
pub mod draw;
pub mod encode;
pub mod game;
pub mod http;
pub mod livekit;
pub mod output;
pub mod overlay;
pub mod raster;
pub mod render;
pub mod secure;
pub mod server;
pub mod store;
pub mod stream;
pub mod studio;
pub mod webhook;
