//! The match state from the outside: wire JSON in, a filtered state out.

mod delivery;
mod events;
mod hostile;
mod make;
mod order;
mod save;
mod views;
mod wire;
