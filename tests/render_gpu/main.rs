//! The GPU room against the CPU's slow and exact pictures, on whatever adapter there is (lavapipe will do).

mod kit;
mod loss;
mod nv12;
mod partial;
mod scenes;
mod shapes;
#[path = "../support/mod.rs"]
mod support;
