//! Keys and tokens as somebody who means harm meets them.

#[path = "../support/mod.rs"]
mod support;

mod guard;
mod hosts;
mod keyring;
mod rotation;
mod tokens;
