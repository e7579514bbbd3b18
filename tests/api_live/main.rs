//! The live half of the API on a real port: feeding, watching, sessions, streams, events, pages, metrics. Store and matches
//! are the real ones; only the stage on which streams are drawn is a fake.

#[path = "../support/mod.rs"]
mod support;

mod connections;
mod events;
mod feed;
mod house;
mod metrics;
mod page;
mod pages;
mod sessions;
mod streams;
mod watch;
