/// The faces text is set in: the design's own and the fallbacks found on the system.
#[derive(Clone, Default)]
pub struct FontSet {}
