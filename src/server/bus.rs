//! What changes, for operators' pages.

use crate::store::model::{ApiRole, Millis};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Changes of one tenant kept for those who come back, so that a busy tenant pushes out nobody else's.
const KEPT: usize = 1_024;
/// Changes kept of all tenants together; beyond it the tenant with most of them loses its oldest.
const KEPT_OF_ALL: usize = 65_536;
/// Changes that a listener may lag behind.
const LAG: usize = 1_024;

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
    kept: Mutex<Kept>,
    news: broadcast::Sender<Arc<Change>>,
}

#[derive(Default)]
struct Kept {
    /// Of the newest change.
    number: u64,
    /// Changes in all rings.
    len: usize,
    /// By tenant; None: of the whole service.
    rings: HashMap<Option<String>, Ring>,
}

/// The newest changes of a tenant.
#[derive(Default)]
struct Ring {
    changes: VecDeque<Arc<Change>>,
    /// Number of the newest one that is not kept any more.
    lost: u64,
}

impl Ring {
    fn drop_oldest(&mut self) {
        if let Some(change) = self.changes.pop_front() {
            self.lost = change.number;
        }
    }
}

impl Kept {
    fn keep(&mut self, change: Arc<Change>) {
        let ring = self.rings.entry(change.tenant.clone()).or_default();
        ring.changes.push_back(change);
        if ring.changes.len() > KEPT {
            ring.drop_oldest();
        } else {
            self.len += 1;
        }
        if self.len > KEPT_OF_ALL
            && let Some(ring) = self.rings.values_mut().max_by_key(|ring| ring.changes.len())
        {
            ring.drop_oldest();
            self.len -= 1;
        }
    }

    /// What `tenant` (None: everybody) sees of what came after `number`; None when some of it is lost.
    fn after(&self, number: u64, tenant: Option<&str>) -> Option<Vec<Arc<Change>>> {
        let seen = |of: &Option<String>| tenant.is_none() || of.is_none() || of.as_deref() == tenant;
        let rings: Vec<_> = self.rings.iter().filter(|(of, _)| seen(of)).map(|(_, ring)| ring).collect();
        if number > self.number || rings.iter().any(|ring| ring.lost > number) {
            return None;
        }
        let changes = rings.iter().flat_map(|ring| &ring.changes);
        let mut missed: Vec<_> = changes.filter(|change| change.number > number).cloned().collect();
        missed.sort_by_key(|change| change.number);
        Some(missed)
    }
}

impl Change {
    /// The least role of a caller who may see it: destinations say where a stream goes and by which key.
    pub fn least_role(&self) -> ApiRole {
        if self.kind == "destination" { ApiRole::Operator } else { ApiRole::Viewer }
    }
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
        Bus(Arc::new(Inner { run: fastrand::u64(..), kept: Mutex::default(), news: broadcast::channel(LAG).0 }))
    }
}

impl Bus {
    pub fn tell(&self, tenant: Option<&str>, kind: &'static str, id: &str, data: serde_json::Value) {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.number += 1;
        let change = Change {
            number: kept.number,
            at: super::now_ms(),
            tenant: tenant.map(str::to_owned),
            kind,
            id: id.to_owned(),
            data,
        };
        let change = Arc::new(change);
        kept.keep(change.clone());
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

    /// Everything from now on, and what came after `last` and `tenant` (None: everybody) sees, if all of it is still kept.
    /// `news` are everybody's.
    pub fn listen(&self, last: Option<&str>, tenant: Option<&str>) -> Resumed {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let news = self.0.news.subscribe();
        let from = self.id_of(kept.number);
        let Some(last) = last else { return Resumed { missed: Some(Vec::new()), from, news } };
        let number = last.split_once('-').and_then(|(run, number)| {
            let same = u64::from_str_radix(run, 16).ok()? == self.0.run;
            number.parse::<u64>().ok().filter(|_| same)
        });
        Resumed { missed: number.and_then(|number| kept.after(number, tenant)), from, news }
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
        let id = |n: u64| format!("{:016x}-{n}", bus.0.run);
        let listen = |last: &str| bus.listen(Some(last), Some("ten_a")).missed;
        let missed = listen(&id(1)).unwrap();
        assert_eq!(missed.iter().map(|c| c.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(listen(&bus.id(&missed[1])), Some(Vec::new()));
        for last in ["", "x-1", &id(9), &format!("{:016x}-1", bus.0.run ^ 1)] {
            assert_eq!(listen(last), None, "{last}");
        }
        (4..=KEPT as u64 + 2).for_each(tell);
        assert!(listen(&id(2)).is_some());
        assert!(listen(&id(1)).is_none(), "the second is gone");
    }

    #[test]
    fn a_busy_tenant_pushes_out_nobody_elses_changes() {
        let bus = Bus::default();
        let tell = |tenant, n: u64| bus.tell(tenant, "agent", &n.to_string(), n.into());
        let id = |n: u64| format!("{:016x}-{n}", bus.0.run);
        tell(None, 1);
        tell(Some("ten_a"), 2);
        tell(Some("ten_b"), 3);
        (0..2 * KEPT as u64).for_each(|n| tell(Some("ten_b"), n));
        tell(Some("ten_a"), 4);
        let of = |tenant| bus.listen(Some(&id(0)), tenant).missed;
        let ids: Vec<_> = of(Some("ten_a")).unwrap().iter().map(|change| change.id.clone()).collect();
        assert_eq!(ids, ["1", "2", "4"]);
        assert!(of(Some("ten_b")).is_none() && of(None).is_none());
        let newest = bus.listen(Some(&id(2 * KEPT as u64)), None).missed.unwrap();
        assert!(newest.is_sorted_by_key(|change| change.number) && newest.len() == 4, "{}", newest.len());
    }

    #[test]
    fn changes_of_many_tenants_together_have_a_limit() {
        let bus = Bus::default();
        let tenants: Vec<_> = (0..KEPT_OF_ALL / KEPT + 8).map(|n| format!("ten_{n}")).collect();
        for _ in 0..KEPT {
            tenants.iter().for_each(|tenant| bus.tell(Some(tenant), "agent", "a", serde_json::Value::Null));
        }
        let kept = bus.0.kept.lock().unwrap();
        assert_eq!((kept.len, kept.rings.values().map(|ring| ring.changes.len()).sum()), (KEPT_OF_ALL, KEPT_OF_ALL));
    }
}
