use super::{DrawList, IRect};

/// What changed between two lists, in whole rectangles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing: the picture is the one before.
    None,
    /// These rectangles, inside the picture, disjoint from each other.
    Rects(Vec<IRect>),
    /// Everything, the baked base too.
    Full,
}

impl Damage {
    /// Difference of `new` against `old`.
    pub fn between(_old: &DrawList, _new: &DrawList) -> Damage {
        Damage::Full
    }
}
