//! Requests to LiveKit's Egress service.
