//! Helpers of the integration tests. Every test binary uses its own part of them.

#![allow(dead_code)]

pub mod browser;
pub mod certificates;
pub mod coturn;
pub mod cpu;
pub mod dir;
pub mod fakes;
pub mod flv;
pub mod http;
pub mod livekit;
pub mod marked;
pub mod matches;
pub mod media;
pub mod nginx;
pub mod postgres;
pub mod program;
pub mod relay;
pub mod rtmp_receiver;
pub mod service;
pub mod subscriber;
pub mod window;
