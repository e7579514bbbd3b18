//! The state of a match: what every game looks like to a broadcast. No code here or above it knows a particular game.
//!
//! Positions on a grid count from the top left. Times are Unix milliseconds as the sender's clock says (`ts` of the
//! event), durations are milliseconds.

use serde::de::{SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Key of a side in [`Snapshot::sides`].
pub type SideId = String;
/// Key of a zone in [`Snapshot::zones`].
pub type ZoneId = String;

/// Everything known of one match: the last snapshot with all patches applied, and what flowed beside it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MatchState {
    /// Id of the match, empty before the first event.
    pub match_id: String,
    /// Epoch of the last applied event; a game server raises it when it restarts.
    pub epoch: u64,
    /// Sequence number of the last applied event.
    pub seq: u64,
    /// `ts` of the last applied event, Unix ms.
    pub ts: i64,
    /// Whether `match.started` or a snapshot has been seen.
    pub started: bool,
    /// What a `state.snapshot` carries.
    pub board: Snapshot,
    /// The newest thought of each side.
    pub thoughts: BTreeMap<SideId, Thought>,
    /// The newest action of each side.
    pub actions: BTreeMap<SideId, Action>,
    /// Newest last, at most [`super::limits::FEED`].
    pub feed: VecDeque<FeedItem>,
    /// Scene asked for by `scene.set`.
    pub scene: Option<SceneCue>,
    /// Newest marker (for clips and chapters).
    pub marker: Option<Marker>,
}

/// What `match.started` and `state.snapshot` carry and what `state.patch` (RFC 7396) patches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Snapshot {
    /// Event or league, for example `Agent Open 2026`.
    pub title: String,
    /// Round or table, for example `Quarter-final 2`.
    pub round: String,
    pub game: Game,
    pub phase: Phase,
    /// 1 to 8 sides by id. Order on screen is [`Side::seat`].
    pub sides: BTreeMap<SideId, Side>,
    pub zones: BTreeMap<ZoneId, Zone>,
    pub eval: Option<Eval>,
    pub series: Option<Series>,
    pub result: Option<MatchResult>,
    /// Shown on the starting scene: format, clock, last meeting.
    pub facts: Vec<Fact>,
    /// When the first move is due, Unix ms: the countdown's end.
    pub starts_at: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Game {
    /// Machine name, for example `chess`. Nothing is drawn differently because of it.
    pub id: String,
    /// Display name, for example `Chess960`.
    pub name: String,
}

/// Where the match is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Phase {
    pub turn: u32,
    /// What a turn is called here: `Turn` when empty (a chess adapter says `Move`, poker `Hand`).
    pub turn_label: String,
    /// Name of the phase, for example `Flop`.
    pub name: String,
    /// Sides to act now; several in simultaneous games.
    pub active: BTreeSet<SideId>,
    /// When the turn's time is up, Unix ms.
    pub deadline: Option<i64>,
    /// Names of all phases of a turn in order, when the game has a fixed cycle; [`Phase::name`] is lit.
    pub cycle: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Side {
    /// 0 to 7: place on screen, colour and letter. Unique within a match.
    pub seat: u8,
    pub name: String,
    /// Model or engine, for example `claude-opus-4.1`.
    pub agent: String,
    /// Author or team, without the `@`.
    pub author: String,
    /// BCP 47 language of the name; picks CJK glyph forms.
    pub lang: String,
    pub avatar: Option<PictureRef>,
    /// What it plays: `White`, `Dealer`.
    pub role: String,
    pub status: SideStatus,
    /// In a few words, why the status is what it is: `ran into the body of Ouroboros Prime`.
    pub status_text: String,
    pub clock: Option<Clock>,
    pub counters: Vec<Counter>,
    /// The number beside the name: games won, points.
    pub score: Option<f64>,
    /// One line for the starting scene: `Seed 2 · rating 2,412`.
    pub blurb: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SideStatus {
    #[default]
    Active,
    Thinking,
    Timeout,
    Invalid,
    Error,
    Disconnected,
    Eliminated,
    Winner,
}

/// A side's clock. What it shows at time `t` is `ms − (t − as_of)` while running.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Clock {
    /// Time left at `as_of`, ms (time used, if `up`).
    pub ms: i64,
    /// Unix ms at which `ms` was true; the event's `ts` when 0.
    pub as_of: i64,
    pub running: bool,
    /// Counts think time up instead of down.
    pub up: bool,
    pub paused: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Counter {
    /// Unique within a side: `health`.
    pub id: String,
    /// `Health`, `Len`, `Stack`.
    pub label: String,
    pub value: f64,
    /// With `max` set the counter is drawn as a bar.
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// After the number: `%`.
    pub unit: String,
    /// Symbol beside a bar, for example `symbol:icon/heart`.
    pub icon: Option<PictureRef>,
}

/// Who may see something. `"public"` or a list of side ids in JSON.
///
/// A missing visibility means public on public board state (a zone without an owner, its cells and its face-up cards)
/// and hidden everywhere else. A list that is there is obeyed to the letter, whoever owns the thing: in Hanabi a hand
/// is owned by one side and shown to the others. [`super::View`] has the rules for each part of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    Public,
    Sides(BTreeSet<SideId>),
}

/// An area of the table. In JSON its content lies beside its own fields, and `kind` says which content it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "FlatZone")]
pub struct Zone {
    #[serde(flatten)]
    pub content: ZoneContent,
    /// The side it belongs to. None: the shared table.
    pub owner: Option<SideId>,
    pub label: String,
    /// Order among zones of one owner, smallest first.
    pub order: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vis: Option<Visibility>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ZoneContent {
    Grid(Grid),
    Cards(Cards),
    Text(TextZone),
    Picture(PictureZone),
}

/// A zone as it is read: the fields of every kind side by side, all with names of their own. Read this way (and not
/// flattened through serde's buffer) an error deep in a board can name its field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FlatZone {
    kind: ZoneKind,
    #[serde(default)]
    owner: Option<SideId>,
    #[serde(default)]
    label: String,
    #[serde(default)]
    order: i32,
    #[serde(default)]
    vis: Option<Visibility>,
    #[serde(default)]
    cols: u16,
    #[serde(default)]
    rows: u16,
    #[serde(default)]
    ground: Ground,
    #[serde(default)]
    col_labels: Vec<String>,
    #[serde(default)]
    row_labels: Vec<String>,
    #[serde(default)]
    cells: Vec<Cell>,
    #[serde(default)]
    bodies: Vec<GridBody>,
    #[serde(default)]
    arrows: Vec<Arrow>,
    #[serde(default)]
    arrange: Arrange,
    #[serde(default)]
    role: CardRole,
    #[serde(default)]
    items: Vec<Card>,
    #[serde(default)]
    count: Option<u32>,
    #[serde(default)]
    slots: u16,
    #[serde(default)]
    text: String,
    #[serde(default)]
    mono: bool,
    #[serde(default)]
    picture: Option<PictureRef>,
    #[serde(default)]
    pixelated: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ZoneKind {
    Grid,
    Cards,
    Text,
    Picture,
}

impl From<FlatZone> for Zone {
    fn from(z: FlatZone) -> Zone {
        let content = match z.kind {
            ZoneKind::Grid => ZoneContent::Grid(Grid {
                cols: z.cols,
                rows: z.rows,
                ground: z.ground,
                col_labels: z.col_labels,
                row_labels: z.row_labels,
                cells: z.cells,
                bodies: z.bodies,
                arrows: z.arrows,
            }),
            ZoneKind::Cards => ZoneContent::Cards(Cards {
                arrange: z.arrange,
                role: z.role,
                items: z.items,
                count: z.count,
                slots: z.slots,
            }),
            ZoneKind::Text => ZoneContent::Text(TextZone { text: z.text, mono: z.mono }),
            ZoneKind::Picture => ZoneContent::Picture(PictureZone { picture: z.picture, pixelated: z.pixelated }),
        };
        Zone { content, owner: z.owner, label: z.label, order: z.order, vis: z.vis }
    }
}

/// A board of cols × rows cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Grid {
    pub cols: u16,
    pub rows: u16,
    pub ground: Ground,
    /// Labels of columns, left to right, in the bottom row's cells; empty: none.
    pub col_labels: Vec<String>,
    /// Labels of rows, top to bottom, in the left column's cells; empty: none.
    pub row_labels: Vec<String>,
    pub cells: Vec<Cell>,
    /// Things over several cells, such as snakes.
    pub bodies: Vec<GridBody>,
    /// What the agents talk about: one arrow a side at most is drawn.
    pub arrows: Vec<Arrow>,
}

/// Look of a grid's empty cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ground {
    /// Light and dark squares of high contrast (chess); the top left one is light.
    Checker,
    /// Quiet checks for snakes and tokens.
    #[default]
    Field,
    /// Round holes in a slab (connect four).
    Holes,
    /// Intersections of lines (go); pieces sit on the crossings.
    Lines,
}

/// One thing on one cell, or a property of that cell. Several entries may name one cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cell {
    /// Column from the left, from 0.
    pub x: u16,
    /// Row from the top, from 0.
    pub y: u16,
    /// Set on a piece that moves: the same id elsewhere in the next state slides there.
    pub id: String,
    /// Background of the cell.
    pub paint: Option<Paint>,
    /// Piece drawn in the cell.
    pub picture: Option<PictureRef>,
    /// Short text, at most a few characters are drawn.
    pub label: String,
    /// Whose piece: colours tokens by seat.
    pub side: Option<SideId>,
    /// Light or dark set of a symbol with two tones (chess men).
    pub tone: Tone,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vis: Option<Visibility>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    #[default]
    Light,
    Dark,
}

/// Meaning of a coloured cell; the theme has the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Paint {
    /// From and to of the last move.
    Last,
    /// A king in check, a lost base.
    Alert,
    Hazard,
    /// A winning line, a goal.
    Accent,
    /// The tint of the cell's `side`.
    Side,
    /// Blocked, a wall.
    Wall,
}

/// A body over several cells, head first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GridBody {
    pub id: String,
    pub side: Option<SideId>,
    /// `[x, y]` from the head to the tail; repeated cells are stacked segments.
    pub cells: Vec<[u16; 2]>,
    pub dead: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vis: Option<Visibility>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Arrow {
    pub from: [u16; 2],
    pub to: [u16; 2],
    pub side: Option<SideId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vis: Option<Visibility>,
}

/// Cards in a row, a fan, slots, a pile or a stack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Cards {
    pub arrange: Arrange,
    pub role: CardRole,
    /// Bottom or left first.
    pub items: Vec<Card>,
    /// How many cards there are when `items` does not list them all.
    pub count: Option<u32>,
    /// Places drawn for [`Arrange::Slots`].
    pub slots: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrange {
    #[default]
    Row,
    Fan,
    Slots,
    Pile,
    Stack,
}

/// What a card zone is for; decides where it is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CardRole {
    Hand,
    /// In play before its owner, or community cards without one.
    #[default]
    Table,
    Deck,
    Discard,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Card {
    pub id: String,
    /// Lies face up.
    pub up: bool,
    /// What is on it. A view that may not see it gets `None`.
    pub face: Option<Face>,
    /// Lit: just played, part of the winning hand.
    pub lit: bool,
    /// Whose card, where the zone has no owner (a trick).
    pub side: Option<SideId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vis: Option<Visibility>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Face {
    /// `A`, `10`, `K`; empty for cards without a rank.
    pub rank: String,
    pub suit: Option<Suit>,
    /// Name of a card that is not from the French deck.
    pub name: String,
    /// Rule text, one to three lines.
    pub text: String,
    /// Number in the plate (attack).
    pub value: Option<f64>,
    pub art: Option<PictureRef>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suit {
    Clubs,
    Diamonds,
    Hearts,
    Spades,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TextZone {
    pub text: String,
    pub mono: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PictureZone {
    pub picture: Option<PictureRef>,
    /// Pixel art: scaled by whole steps.
    pub pixelated: bool,
}

/// Names a picture: `symbol:NAME` is a built-in symbol, anything else an id in the stream's picture bank.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PictureRef(pub String);

/// How the match stands in somebody's opinion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Eval {
    /// Win chance of each side, 0 to 1.
    pub shares: BTreeMap<SideId, f64>,
    /// Raw value beside the leader: `+1.3`, `M5`.
    pub text: String,
    /// Unix ms; the event's `ts` when 0. Stale after 30 s.
    pub as_of: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Series {
    /// 0: open-ended.
    pub best_of: u16,
    /// Number of the game being played, from 1.
    pub game: u16,
    /// Winners of the games so far; `None` for a draw.
    pub winners: Vec<Option<SideId>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MatchResult {
    /// Empty with `draw` or `aborted`.
    pub winners: Vec<SideId>,
    pub draw: bool,
    pub aborted: bool,
    /// `by checkmate, move 34`.
    pub reason: String,
    pub sides: BTreeMap<SideId, SideResult>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SideResult {
    pub score: Option<f64>,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Fact {
    pub label: String,
    pub text: String,
}

/// What an agent says it thinks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thought {
    pub id: String,
    pub text: String,
    /// `(ts of the delta in Unix ms, bytes of text after it)`: the reading pace is computed from it. Neither falls. At
    /// most [`super::limits::ARRIVALS`]; the oldest are merged.
    pub arrivals: Vec<(i64, u32)>,
    pub done: bool,
    pub vis: Option<Visibility>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Action {
    pub turn: u32,
    pub text: String,
    pub reason: String,
    /// 0 to 1.
    pub confidence: Option<f64>,
    pub latency_ms: Option<u64>,
    pub status: ActionStatus,
    pub ts: i64,
    pub vis: Option<Visibility>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionStatus {
    #[default]
    Ok,
    Timeout,
    Invalid,
    Error,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedItem {
    /// `(epoch, seq)` of the event it came with.
    pub epoch: u64,
    pub seq: u64,
    pub ts: i64,
    /// `move`, `chat`, `event`, `system`.
    pub kind: String,
    pub text: String,
    pub actor: Option<SideId>,
    /// 0 to 100.
    pub importance: u8,
    pub vis: Option<Visibility>,
}

/// Scenes of the broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scene {
    Starting,
    #[default]
    Live,
    Over,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SceneCue {
    /// None: back to choosing by itself.
    pub scene: Option<Scene>,
    pub ts: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    pub label: String,
    pub ts: i64,
    pub vis: Option<Visibility>,
}

impl Serialize for Visibility {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Visibility::Public => s.serialize_str("public"),
            Visibility::Sides(sides) => sides.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Visibility {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Visibility, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = Visibility;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("\"public\" or a list of side ids")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Visibility, E> {
                match word {
                    "public" => Ok(Visibility::Public),
                    _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Visibility, A::Error> {
                let mut sides = BTreeSet::new();
                while let Some(side) = list.next_element()? {
                    sides.insert(side);
                }
                Ok(Visibility::Sides(sides))
            }
        }

        d.deserialize_any(Words)
    }
}
