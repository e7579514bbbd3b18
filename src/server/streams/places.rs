//! Which streams are on which encode: sharing, parting, opening, closing, failing.

use super::board::{Action, Board, Ms, OUTPUT_END};
use super::encodes::{Encode, Shown};
use super::rows::{SlotState, Stream};
use crate::server::stage::Scene;
use std::collections::BTreeSet;

impl Board {
    pub(super) fn reconcile(&mut self, now: Ms) {
        if self.draining {
            return;
        }
        for id in self.encodes.keys().copied().collect::<Vec<_>>() {
            self.choose(id);
        }
        self.close_unused();
        self.place(now);
        for id in self.streams.keys().cloned().collect::<Vec<_>>() {
            self.plug(&id, now);
        }
        self.scenes();
    }

    /// Streams of one encode whose matches part: it goes on with what most of them want, the others leave.
    fn choose(&mut self, id: u64) {
        let Some(encode) = self.encodes.get(&id) else { return };
        let wishes: Vec<&Option<Shown>> = self.on(id).map(|s| &s.shows).collect();
        if wishes.is_empty() {
            return;
        }
        let playing: Vec<&Shown> = wishes.iter().filter_map(|w| w.as_ref()).collect();
        let most = |shown: &&&Shown| playing.iter().filter(|other| other == shown).count();
        let next = if playing.contains(&&encode.shown) {
            encode.shown.clone()
        } else {
            // Of equals the oldest stream's: `max_by_key` takes the last.
            playing.iter().rev().max_by_key(most).map_or(Shown::Nothing, |shown| (*shown).clone())
        };
        let stays = |s: &Stream| s.shows.as_ref().unwrap_or(&Shown::Nothing) == &next;
        let leaving: Vec<String> = self.on(id).filter(|s| !stays(s)).map(|s| s.record.id.clone()).collect();
        for id in leaving {
            self.leave(&id);
        }
        if self.encodes[&id].shown != next {
            if let Some(encode) = self.encodes.get_mut(&id) {
                encode.show(next);
            }
            self.aim(id);
        }
    }

    pub(super) fn on(&self, encode: u64) -> impl Iterator<Item = &Stream> {
        self.streams.values().filter(move |s| s.encode == Some(encode))
    }

    fn leave(&mut self, id: &str) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let encode = stream.encode.take();
        let mut gone = Vec::new();
        for slot in stream.slots.values_mut().filter(|s| !matches!(s.state, SlotState::Attention(_))) {
            gone.push(slot.reset());
        }
        let run = encode.and_then(|e| self.encodes.get(&e)).and_then(Encode::run);
        for output in gone.into_iter().flatten() {
            self.actions.extend(run.map(|run| Action::Remove { run, output, deadline: OUTPUT_END }));
        }
    }

    pub(super) fn close_unused(&mut self) {
        let used: BTreeSet<u64> = self.streams.values().filter_map(|s| s.encode).collect();
        let unused: Vec<u64> = self.encodes.keys().copied().filter(|id| !used.contains(id)).collect();
        for encode in unused.iter().filter_map(|id| self.encodes.remove(id)) {
            let run = encode.run();
            self.actions.extend(run.map(|run| Action::Close { run, deadline: OUTPUT_END }));
        }
        let finished = self.finishing.extract_if(.., |id, _| !used.contains(id));
        self.actions.extend(finished.map(|(_, run)| Action::Hurry { run }));
    }

    /// Finds an encode for every stream that has none and something to send to.
    fn place(&mut self, now: Ms) {
        for id in self.streams.keys().cloned().collect::<Vec<_>>() {
            let Some(stream) = self.streams.get(&id).filter(|s| s.encode.is_none()) else { continue };
            let by_itself = self.world.as_ref().is_some_and(|w| w.by_itself);
            let sends = by_itself || stream.destinations.iter().any(|d| self.unusable(d).is_none());
            if stream.is_ending() || !sends {
                continue;
            }
            let (look, shows, tenant) = (stream.look.clone(), stream.shows.clone(), stream.record.tenant_id.clone());
            let same = |e: &&Encode| e.look == look && Some(&e.shown) == shows.as_ref();
            let found = self.encodes.values().find(same).map(|e| e.id);
            let full = self.full(&tenant);
            let encode = match found {
                None if full.is_some() => None,
                found => Some(found.unwrap_or_else(|| {
                    self.serial += 1;
                    let encode = Encode::new(self.serial, look, shows.unwrap_or(Shown::Nothing), now);
                    self.encodes.insert(encode.id, encode);
                    self.serial
                })),
            };
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.encode = encode;
                stream.trouble = full.filter(|_| encode.is_none());
            }
            match (found, encode) {
                (None, Some(encode)) => self.open(encode, now),
                (Some(encode), _) => self.rename(encode),
                _ => {}
            }
        }
    }

    /// Why a tenant gets no further encode, if that is so.
    fn full(&self, tenant: &str) -> Option<String> {
        let (all, each) = (self.settings.max_encodes, self.settings.max_encodes_per_tenant);
        if self.encodes.len() >= all {
            return Some(format!(
                "all {all} encodes of this machine are in use; it starts when one ends (streaming.max_encodes)"
            ));
        }
        // Streams of one encode show one match, which is one tenant's.
        let own = self.streams.values().filter(|s| s.record.tenant_id == tenant).filter_map(|s| s.encode);
        (own.collect::<BTreeSet<u64>>().len() >= each).then(|| {
            format!("{each} encodes of yours are in use; it starts when one ends (streaming.max_encodes_per_tenant)")
        })
    }

    pub(super) fn open(&mut self, id: u64, now: Ms) {
        self.serial += 1;
        let ids = |s: &Stream| (s.agent.name.clone(), (s.record.id.clone(), s.agent.id.clone()));
        let (run, (name, first)) = (self.serial, self.on(id).next().map(ids).unwrap_or_default());
        if let Some(encode) = self.encodes.get_mut(&id) {
            encode.opening(run, now);
            let look = encode.look.clone();
            self.actions.push(Action::Open { run, look, name, first });
        }
    }

    /// What an encode shows has changed, or it has just begun.
    pub(super) fn aim(&mut self, id: u64) {
        self.rename(id);
        let agents = self.on(id).map(|s| (s.agent.id.clone(), s.agent.name.clone())).collect();
        let Some(encode) = self.encodes.get_mut(&id) else { return };
        if let (Some(run), Some(_)) = (encode.run(), encode.stage()) {
            self.serial += 1;
            let (aim, shown) = (self.serial, encode.shown.clone());
            self.actions.push(Action::Aim { run, aim, shown, agents });
        }
    }

    /// Whose broadcast it is, for the ending scene.
    fn rename(&self, id: u64) {
        let mut names: Vec<&str> = self.on(id).map(|s| s.agent.name.trim()).collect();
        names.dedup();
        if let Some(stage) = self.encodes.get(&id).and_then(Encode::stage) {
            stage.host(&names.join(" · "));
        }
    }

    /// An encode did not open or broke down.
    pub(super) fn failed(&mut self, id: u64, words: String, now: Ms) {
        for stream in self.streams.values_mut().filter(|s| s.encode == Some(id)) {
            for slot in stream.slots.values_mut().filter(|s| !matches!(s.state, SlotState::Attention(_))) {
                // They end with it.
                slot.reset();
            }
        }
        let Some(encode) = self.encodes.get_mut(&id) else { return };
        tracing::error!("a stream's picture: {words}");
        let run = encode.rest(words, now);
        self.actions.extend(run.map(|run| Action::Close { run, deadline: OUTPUT_END }));
    }

    /// Puts the ending scene on, or what an operator chose.
    pub(super) fn scenes(&mut self) {
        let slates: Vec<u64> = self
            .encodes
            .keys()
            .copied()
            .filter(|id| self.on(*id).next().is_some() && self.on(*id).all(Stream::is_ending))
            .collect();
        for (id, encode) in &mut self.encodes {
            encode.put_on(if slates.contains(id) { Some(Scene::Ending) } else { encode.operator });
        }
    }
}
