//! What a LiveKit server tells by webhooks: verified, de-duplicated, and reconciled with what it lists.

pub mod verify;
