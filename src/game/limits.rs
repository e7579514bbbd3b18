//! How large a match may be. Over a limit an event is refused whole and names the field; the state stays as it was.
//!
//! The numbers bound memory and drawing time of one stream (a state at every limit is under 1 MiB and lays out within
//! one frame); they are far above what a picture can show.

/// Characters (Unicode scalar values) in an id of a match, side, zone, card, body or cell.
pub const ID_CHARS: usize = 64;
/// Characters in a display name.
pub const NAME_CHARS: usize = 200;
/// Characters in a short text: labels, titles, reasons, feed lines, action texts.
pub const TEXT_CHARS: usize = 500;
/// Characters of one thought, all its deltas together.
pub const THOUGHT_CHARS: usize = 16_384;
/// Characters in a text zone.
pub const ZONE_TEXT_CHARS: usize = 4_096;
/// Sides of a match.
pub const SIDES: usize = 8;
/// Zones of a match.
pub const ZONES: usize = 64;
/// Columns or rows of a grid.
pub const GRID_EDGE: usize = 64;
/// Entries in a grid's `cells`, `bodies` together with their segments, or `arrows`.
pub const GRID_ITEMS: usize = 4_096;
/// Cards in one zone.
pub const CARDS: usize = 512;
/// Counters of one side.
pub const COUNTERS: usize = 8;
/// Facts shown before a match.
pub const FACTS: usize = 8;
/// Feed lines kept; older ones leave.
pub const FEED: usize = 64;
/// Games of a series.
pub const SERIES_GAMES: usize = 99;
/// Nesting of a merge patch.
pub const PATCH_DEPTH: usize = 16;
/// Bytes of one event as JSON.
pub const EVENT_BYTES: usize = 1_048_576;
/// Events held back while a gap in `seq` may still close.
pub const REORDER_WINDOW: usize = 32;
/// Longest delay of a view, milliseconds.
pub const DELAY_MS: i64 = 600_000;
