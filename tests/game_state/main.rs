//! The match state from the outside: wire JSON in, a filtered state out.

mod delivery;
mod events;
mod hostile;
mod make;
mod order;
mod views;
mod wire;
