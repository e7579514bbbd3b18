//! Callers.

use crate::store::model::ApiRole;
use std::net::IpAddr;

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Id of the API key, `cli` or `service`: what the audit names.
    pub actor: String,
    /// None: an admin of the whole service.
    pub tenant: Option<String>,
    pub role: ApiRole,
    pub from: Option<IpAddr>,
}

impl Who {
    /// The service itself.
    pub fn service() -> Who {
        Who { actor: "service".into(), tenant: None, role: ApiRole::Admin, from: None }
    }

    /// Somebody at the command line of the machine that the store is on.
    pub fn cli() -> Who {
        Who { actor: "cli".into(), ..Who::service() }
    }

    /// Whose records the caller sees; None sees all.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    pub fn may(&self, role: ApiRole) -> bool {
        self.role >= role
    }
}
