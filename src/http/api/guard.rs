//! Rate limits, Idempotency-Key, ETag.

/// The limiters of the API.
pub struct Guard {}
