//! What a LiveKit server tells by webhooks: verified, de-duplicated, and reconciled with what it lists.
//!
//! | file | what |
//! |---|---|
//! | [`verify`] | whether a webhook is the server's and as it was sent |
//! | `ledger` | [`Ledger`]: what is known, a pure fold over events and listings |
//! | `rooms` | its rooms, participants and tracks |
//! | `jobs` | its egress and ingress jobs |
//! | `recent` | bounded memory for ids |
//! | `listing` | asks the server for what there is |
//! | `status` | [`Status`]: what is known, for pages |
//! | `hub` | [`Hub`]: the route, the rounds of listing, and who is told of changes |
//!
//! Everything but `hub` and `listing` knows no clock: time is an argument.

mod hub;
mod jobs;
mod ledger;
mod listing;
mod recent;
mod rooms;
mod status;
pub mod verify;

pub use hub::{BODY_LIMIT, Hub, PATH};
pub use jobs::{Ingress, NOT_LISTED, has_ended};
pub use ledger::{Change, Ledger, ListedRoom, Listing, Outcome};
/// What a webhook or a list says of an egress job.
pub use livekit_protocol::EgressInfo;
pub use status::{EgressLine, IngressLine, Listings, ParticipantLine, RoomLine, Status, TrackLine, Webhooks, rfc3339};
