//! Helpers of the integration tests.

#![allow(dead_code)]

pub mod cpu;
pub mod matches;
