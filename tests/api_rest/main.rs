//! The half of the API that sets things up: agents, destinations, keys, the flag, audit and usage, and what holds for every call.

#[path = "../support/mod.rs"]
mod support;

mod air;
mod busy;
mod calls;
mod checks;
mod common;
mod documents;
mod off;
mod records;
mod secrets;
mod world;
