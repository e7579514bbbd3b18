//! How large a match may be. Over a limit an event is refused whole and names the field; the state stays as it was.
//!
//! The numbers bound memory and drawing time of one stream; they are far above what a picture can show. A board is
//! bounded as a whole by [`BOARD_BYTES`], what flows beside it by its own limits (under 1 MiB in all).

/// Characters (Unicode scalar values) in an id of a match, side, zone, card, body or cell.
pub const ID_CHARS: usize = 64;
/// Characters in a display name (sides, agents, authors, games) and in the name of a picture.
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
/// Cards or slots in one zone.
pub const CARDS: usize = 512;
/// Number of cards that a zone may say it has without listing them.
pub const CARD_COUNT: usize = 9_999;
/// Phases in the cycle of a turn.
pub const PHASES: usize = 16;
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
/// Entries in [`super::Thought::arrivals`].
pub const ARRIVALS: usize = 256;
/// Bytes of one event as JSON.
pub const EVENT_BYTES: usize = 1_048_576;
/// Bytes of a board as JSON with every field written out, defaults too (which is several times what a sparing sender
/// writes). Patches cannot grow a board beyond it.
pub const BOARD_BYTES: usize = 4_194_304;
/// How far apart two neighbouring events may arrive: events held back while a gap in `seq` may still close, and how
/// far ahead of the gap their `seq` may be.
pub const REORDER_WINDOW: usize = 32;
/// Bytes as JSON of all events held back.
pub const HELD_BYTES: usize = 4_194_304;
/// Largest time or duration, ms: the end of the year 9999 as Unix time. Times before 1970 are negative.
pub const TIME_MS: i64 = 253_402_300_799_999;
/// Longest delay of a view, milliseconds.
pub const DELAY_MS: i64 = 600_000;
/// States that a delay holds; more are thinned out evenly (at the longest delay one in 586 ms stays).
pub const DELAYED_STATES: usize = 1_024;
/// Bytes of memory of the states that a delay holds ([`super::MatchState::bytes`]); what is beyond that is thinned out too.
/// A game of chess whose agents think aloud comes to 50 KB a state, so at the longest delay one in a second stays.
pub const DELAYED_BYTES: usize = 32 << 20;
