//! One-time codes: what a page's address may hold in place of a token.

/// Codes that wait to be exchanged.
#[derive(Default)]
pub struct Codes {}
