//! Which of several hands is the best, by the usual ranking of high hands.

use crate::game::Suit;

/// Rank 2 to 14 (ace) and suit.
pub(super) type Known = (u8, Suit);

/// How good the best five cards are; more is better. `must_use`: how many of `own` have to be used (Omaha: two), none:
/// any. None: fewer than five cards.
pub(super) fn best(own: &[Known], board: &[Known], must_use: Option<usize>) -> Option<u32> {
    let all: Vec<Known> = own.iter().chain(board).copied().collect();
    if all.len() > 16 {
        return None;
    }
    let own_mask = (1_u32 << own.len()) - 1;
    (0_u32..1 << all.len())
        .filter(|mask| mask.count_ones() == 5)
        .filter(|mask| must_use.is_none_or(|n| (mask & own_mask).count_ones() as usize == n))
        .map(|mask| {
            let mut five = [all[0]; 5];
            let picked = (0..all.len()).filter(|i| mask >> i & 1 == 1);
            five.iter_mut().zip(picked).for_each(|(slot, i)| *slot = all[i]);
            five_cards(five)
        })
        .max()
}

/// Category in the top bits, then ranks by weight, four bits each.
fn five_cards(cards: [Known; 5]) -> u32 {
    let mut counts = [0_u32; 15];
    cards.iter().for_each(|&(rank, _)| counts[usize::from(rank.min(14))] += 1);
    // Ranks by number of cards, then by height.
    let mut groups: Vec<(u32, u32)> = (2..15_u32).map(|r| (counts[r as usize], r)).filter(|g| g.0 > 0).collect();
    groups.sort_unstable_by(|a, b| b.cmp(a));
    let flush = cards.iter().all(|c| c.1 == cards[0].1);
    let ranks: Vec<u32> = groups.iter().map(|g| g.1).collect();
    let straight = match ranks.as_slice() {
        [14, 5, 4, 3, 2] => Some(5),
        [high, .., low] if ranks.len() == 5 && high - low == 4 => Some(*high),
        _ => None,
    };
    let category = match (flush, straight, groups[0].0, groups.get(1).map_or(0, |g| g.0)) {
        (true, Some(_), ..) => 8,
        (_, _, 4, _) => 7,
        (_, _, 3, 2) => 6,
        (true, ..) => 5,
        (_, Some(_), ..) => 4,
        (_, _, 3, _) => 3,
        (_, _, 2, 2) => 2,
        (_, _, 2, _) => 1,
        _ => 0,
    };
    let weights = match straight {
        Some(high) => high,
        None => ranks.iter().fold(0, |sum, r| sum << 4 | r) << (4 * (5 - ranks.len())),
    };
    category << 20 | weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use Suit::{Clubs as C, Diamonds as D, Hearts as H, Spades as S};

    #[test]
    fn hands_rank_in_the_usual_order() {
        let hands: [[Known; 5]; 10] = [
            [(14, C), (5, C), (4, C), (3, C), (2, C)],
            [(9, C), (9, D), (9, H), (9, S), (2, C)],
            [(3, C), (3, D), (3, H), (2, S), (2, C)],
            [(13, H), (9, H), (7, H), (3, H), (2, H)],
            [(14, C), (13, D), (12, H), (11, S), (10, C)],
            [(14, C), (5, D), (4, H), (3, S), (2, C)],
            [(8, C), (8, D), (8, H), (3, S), (2, C)],
            [(8, C), (8, D), (3, H), (3, S), (2, C)],
            [(14, C), (14, D), (5, H), (3, S), (2, C)],
            [(14, C), (13, D), (5, H), (3, S), (2, C)],
        ];
        let ranks: Vec<u32> = hands.iter().map(|&h| five_cards(h)).collect();
        assert!(ranks.is_sorted_by(|a, b| a > b), "{ranks:?}");
    }

    #[test]
    fn omaha_uses_two_of_the_hand() {
        let own = [(14, H), (2, H), (3, C), (4, D)];
        let board = [(13, H), (12, H), (11, H), (10, H), (9, S)];
        let free = best(&own, &board, None).expect("nine cards");
        let two = best(&own, &board, Some(2)).expect("nine cards");
        assert!(two < free);
        assert_eq!(two >> 20, 5, "a flush, not the royal on the board");
        assert_eq!(best(&own, &[], None), None);
    }
}
