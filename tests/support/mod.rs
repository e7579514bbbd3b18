//! Helpers of the integration tests. Every test binary uses its own part of them.
#![allow(dead_code)]

pub mod dir;
pub mod flv;
pub mod media;
pub mod nginx;
pub mod rtmp_receiver;
