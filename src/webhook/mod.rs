//! What a LiveKit server tells by webhooks: verified, de-duplicated, and reconciled with what it lists.

mod jobs;
mod ledger;
mod recent;
mod rooms;
pub mod verify;

pub use jobs::{Ingress, NOT_LISTED, has_ended};
pub use ledger::{Change, Ledger, ListedRoom, Listing, Outcome};
pub use rooms::is_viewer;
