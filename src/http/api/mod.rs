//! The service's HTTP API.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the router, and what wraps it: request ids, limits, compression, CORS, panics |
//! | [`problem`] | errors as `application/problem+json` (RFC 9457) |
//! | [`auth`] | who calls: API keys, operators' cookies, session tokens |
//! | `guard` | rate limits and their headers, Idempotency-Key, ETag and If-Match |
//! | `agents`, `destinations`, `keys`, `flags`, `office` | agents, destinations and their keys, API keys and tenants, the flag, audit and usage |
//! | `matches`, `sessions`, `feed`, `watch`, `streams`, `events` | matches and what goes in and out live |
//! | `pages` | one-time codes, cookies, the overlay page, `/docs` |
//! | `metrics` | `/metrics`, `/healthz`, `/readyz` |

pub mod auth;
pub mod problem;

use crate::server::Service;
use std::sync::Arc;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub service: Service,
    pub guard: Arc<guard::Guard>,
    pub codes: Arc<codes::Codes>,
}

pub mod guard;
pub mod codes;
