use crate::game::{PictureRef, Side, SideId};
use crate::raster::{ImageKey, Raster};

/// What the base shows of a side.
#[derive(Clone, Debug, PartialEq)]
pub struct Player {
    pub id: SideId,
    pub seat: u8,
    pub name: String,
    pub agent: String,
    pub author: String,
    pub lang: String,
    pub avatar: Option<PictureRef>,
    pub role: String,
    pub blurb: String,
    /// A clock stands beside the name.
    pub clock: bool,
    /// Changes when the avatar's picture arrives in the bank.
    picture: Option<ImageKey>,
}

impl Player {
    pub fn new(id: &SideId, side: &Side, raster: &mut Raster) -> Player {
        let picture = side.avatar.as_ref().and_then(|a| raster.pictures.picture(&a.0)).map(|p| p.0);
        Player {
            id: id.clone(),
            seat: side.seat,
            name: if side.name.is_empty() { id.clone() } else { side.name.clone() },
            agent: side.agent.clone(),
            author: side.author.clone(),
            lang: side.lang.clone(),
            avatar: side.avatar.clone(),
            role: side.role.clone(),
            blurb: side.blurb.clone(),
            clock: side.clock.is_some(),
            picture,
        }
    }
}
