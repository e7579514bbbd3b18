//! Operations on agents, destinations, keys, the switch and the flag. Each one changes the store, writes the audit and tells
//! the bus; the caller pokes [`Streams`](super::streams::Streams) where that changes what should be on air.
