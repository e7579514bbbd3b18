//! Who calls. Extractors: [`Caller`] for API keys and operators' cookies, [`Holder`] for session tokens.

use crate::secure::SessionClaims;
use crate::server::who::Who;

/// Somebody with an API key (`Authorization: Bearer key_…`) or an operator's cookie.
#[derive(Clone, Debug)]
pub struct Caller(pub Who);

/// Somebody with a session token (`Authorization: Bearer <JWT>`) for the session in the path.
#[derive(Clone, Debug)]
pub struct Holder(pub SessionClaims);
