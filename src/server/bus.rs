//! What changes, for operators' pages.

use crate::store::model::Millis;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Changes kept for those who come back.
const KEPT: usize = 1_024;

/// One change of state.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Rises by one within a run of the service.
    #[serde(skip)]
    pub number: u64,
    pub at: Millis,
    #[serde(skip)]
    pub tenant: Option<String>,
    /// `agent`, `destination`, `match`, `session`, `stream` or `flag`.
    pub kind: &'static str,
    /// Id of what changed; the flag's name.
    pub id: String,
    /// What it is now, for example `live`; never a secret.
    pub data: serde_json::Value,
}

/// Tells changes to whoever listens. Cheap to clone; telling never waits.
#[derive(Clone)]
pub struct Bus(Arc<Inner>);

struct Inner {
    /// Differs from run to run, so that a number of an earlier run is not taken for one of this.
    run: u64,
    kept: Mutex<(u64, VecDeque<Arc<Change>>)>,
    news: broadcast::Sender<Arc<Change>>,
}

/// What a listener that names its last id gets.
pub struct Resumed {
    /// None when the last id is too old or of another run: the listener must read everything anew.
    pub missed: Option<Vec<Arc<Change>>>,
    /// Id of the newest change before `news`: with it a listener that has got nothing yet can come back.
    pub from: String,
    pub news: broadcast::Receiver<Arc<Change>>,
}

impl Default for Bus {
    fn default() -> Bus {
        Bus(Arc::new(Inner { run: fastrand::u64(..), kept: Mutex::default(), news: broadcast::channel(KEPT).0 }))
    }
}

impl Bus {
    pub fn tell(&self, tenant: Option<&str>, kind: &'static str, id: &str, data: serde_json::Value) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += 1;
        let change = Change {
            number: kept.0,
            at: super::now_ms(),
            tenant: tenant.map(str::to_owned),
            kind,
            id: id.to_owned(),
            data,
        };
        let change = Arc::new(change);
        if kept.1.len() == KEPT {
            kept.1.pop_front();
        }
        kept.1.push_back(change.clone());
        // Nobody may listen. Sent under the lock, so that a listener misses nothing between the two lists.
        let _ = self.0.news.send(change);
    }

    /// The id of a change as it goes out: run and number.
    pub fn id(&self, change: &Change) -> String {
        self.id_of(change.number)
    }

    fn id_of(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.0.run)
    }

    /// Everything from now on, and what came after `last` if it is still kept.
    pub fn listen(&self, last: Option<&str>) -> Resumed {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let news = self.0.news.subscribe();
        let from = self.id_of(kept.0);
        let Some(last) = last else { return Resumed { missed: Some(Vec::new()), from, news } };
        let number = last.split_once('-').and_then(|(run, number)| {
            let same = u64::from_str_radix(run, 16).ok()? == self.0.run;
            number.parse::<u64>().ok().filter(|_| same)
        });
        let oldest = kept.1.front().map_or(kept.0 + 1, |change| change.number);
        let missed = number
            .filter(|number| *number + 1 >= oldest && *number <= kept.0)
            .map(|number| kept.1.iter().filter(|change| change.number > number).cloned().collect());
        Resumed { missed, from, news }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_comes_back_gets_what_it_missed_and_one_of_another_run_starts_anew() {
        let bus = Bus::default();
        let tell = |n: u64| bus.tell(None, "agent", &n.to_string(), n.into());
        (1..=3).for_each(tell);
        let missed = bus.listen(Some(&format!("{:016x}-1", bus.0.run))).missed.unwrap();
        assert_eq!(missed.iter().map(|c| c.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(bus.listen(Some(&bus.id(&missed[1]))).missed, Some(Vec::new()));
        for last in ["", "x-1", &format!("{:016x}-9", bus.0.run), &format!("{:016x}-1", bus.0.run ^ 1)] {
            assert_eq!(bus.listen(Some(last)).missed, None, "{last}");
        }
        (4..=KEPT as u64 + 2).for_each(tell);
        assert!(bus.listen(Some(&format!("{:016x}-2", bus.0.run))).missed.is_some());
        assert!(bus.listen(Some(&format!("{:016x}-1", bus.0.run))).missed.is_none(), "the second is gone");
    }
}
