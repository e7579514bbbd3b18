//! No word of what a view may not see is in what it gets, and every other word is.

use super::make::Make;
use agentcast::game::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The words (`w17w`) in anything.
fn words<T: serde::Serialize>(part: &T) -> BTreeSet<String> {
    let json = serde_json::to_string(part).expect("serialises");
    json.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|w| w.len() > 2 && w.starts_with('w') && w.ends_with('w') && w[1..w.len() - 1].parse::<u32>().is_ok())
        .map(str::to_owned)
        .collect()
}

/// The rule book, written down a second time: what a view may not see of a state.
fn hidden_words(state: &MatchState, view: &View) -> BTreeSet<String> {
    let me = match view {
        View::All => return BTreeSet::new(),
        View::Side(id) => Some(id),
        View::Spectator => None,
    };
    let listed = |vis: &Option<Visibility>, missing: bool| match vis {
        None => missing,
        Some(Visibility::Public) => true,
        Some(Visibility::Sides(list)) => me.is_some_and(|me| list.contains(me)),
    };
    let mut hidden = BTreeSet::new();
    for zone in state.board.zones.values() {
        let mine = zone.owner.is_some() && zone.owner.as_ref() == me;
        if !listed(&zone.vis, zone.owner.is_none() || mine) {
            hidden.extend(words(zone));
            continue;
        }
        match &zone.content {
            ZoneContent::Cards(cards) => {
                for card in cards.items.iter().filter(|c| !listed(&c.vis, c.up || mine)) {
                    hidden.extend(words(card));
                }
            }
            ZoneContent::Grid(grid) => {
                grid.cells.iter().filter(|c| !listed(&c.vis, true)).for_each(|c| hidden.extend(words(c)));
                grid.bodies.iter().filter(|b| !listed(&b.vis, true)).for_each(|b| hidden.extend(words(b)));
            }
            ZoneContent::Text(_) | ZoneContent::Picture(_) => {}
        }
    }
    for (side, thought) in &state.thoughts {
        if !listed(&thought.vis, Some(side) == me) {
            hidden.extend(words(thought));
        }
    }
    for (side, action) in &state.actions {
        if !listed(&action.vis, Some(side) == me) {
            hidden.extend(words(action));
        }
    }
    for item in state.feed.iter().filter(|item| !listed(&item.vis, false)) {
        hidden.extend(words(item));
    }
    for marker in state.marker.iter().filter(|marker| !listed(&marker.vis, false)) {
        hidden.extend(words(marker));
    }
    hidden
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn view_gets_every_word_it_may_see_and_no_other(seed: u64, events in 0usize..30) {
        let state = Make::new(seed).state(events);
        let all = words(&state);
        for view in [View::Spectator, View::Side("a".to_owned()), View::Side("c".to_owned()), View::All] {
            let seen = view.filter(&state);
            let may: BTreeSet<String> = all.difference(&hidden_words(&state, &view)).cloned().collect();
            prop_assert_eq!(words(&seen), may, "{}", view);
            for (id, zone) in &state.board.zones {
                if let ZoneContent::Cards(cards) = &zone.content {
                    let ZoneContent::Cards(left) = &seen.board.zones[id].content else { panic!("still cards") };
                    prop_assert_eq!(left.items.len(), cards.items.len());
                }
            }
            prop_assert_eq!(view.filter(&seen), seen);
        }
    }
}
