//! What changes, for operators' pages.

use crate::store::model::{ApiRole, Millis};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
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
    /// Rises by one within a run of the service. It tells how much all tenants do, so it never goes out.
    #[serde(skip)]
    number: u64,
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
    /// Differs from run to run, so that a position of an earlier run is not taken for one of this.
    run: RandomState,
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
    /// Changes that ever were.
    told: u64,
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
        ring.told += 1;
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

    /// What `tenant` (None: everybody) sees.
    fn rings(&self, tenant: Option<&str>) -> impl Iterator<Item = &Ring> {
        self.rings.iter().filter(move |(of, _)| concerns(of.as_deref(), tenant)).map(|(_, ring)| ring)
    }

    /// How many changes `tenant` has been told.
    fn position(&self, tenant: Option<&str>) -> u64 {
        self.rings(tenant).map(|ring| ring.told).sum()
    }

    /// What `tenant` sees of what came after its `position`; None when some of it is lost.
    fn after(&self, position: u64, tenant: Option<&str>) -> Option<Vec<Arc<Change>>> {
        let count = usize::try_from(self.position(tenant).checked_sub(position)?).ok()?;
        // All that came after the newest one that is lost is there.
        let lost = self.rings(tenant).map(|ring| ring.lost).max().unwrap_or(0);
        let changes = self.rings(tenant).flat_map(|ring| &ring.changes);
        let mut kept: Vec<_> = changes.filter(|change| change.number > lost).cloned().collect();
        kept.sort_by_key(|change| change.number);
        let first = kept.len().checked_sub(count)?;
        Some(kept.split_off(first))
    }
}

/// Whether `tenant` (None: everybody) sees what is `of` a tenant (None: of the whole service).
fn concerns(of: Option<&str>, tenant: Option<&str>) -> bool {
    tenant.is_none() || of.is_none() || of == tenant
}

impl Change {
    /// Whether a caller of `tenant` (None: an admin) is told of it.
    pub fn concerns(&self, tenant: Option<&str>) -> bool {
        concerns(self.tenant.as_deref(), tenant)
    }

    /// The least role of a caller who may see it: destinations say where a stream goes and by which key.
    pub fn least_role(&self) -> ApiRole {
        if self.kind == "destination" { ApiRole::Operator } else { ApiRole::Viewer }
    }
}

/// What a listener that names its last id gets.
pub struct Resumed {
    /// The last of them is at `from`, each before it one lower. None when the last id is too old or of another run: the
    /// listener must read everything anew.
    pub missed: Option<Vec<Arc<Change>>>,
    /// Where the listener is before `news`: each of these that concerns it is one further. Its id ([`Bus::id`]) is one to
    /// come back with, also for a listener that has got nothing yet.
    pub from: u64,
    pub news: broadcast::Receiver<Arc<Change>>,
}

impl Default for Bus {
    fn default() -> Bus {
        Bus(Arc::new(Inner { run: RandomState::new(), kept: Mutex::default(), news: broadcast::channel(LAG).0 }))
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

    /// The id of a change as it goes out to `tenant`: where in what that tenant is told it stands. Counting all tenants' would
    /// tell each what the others do.
    pub fn id(&self, tenant: Option<&str>, position: u64) -> String {
        format!("{:016x}-{position}", self.0.run.hash_one(tenant))
    }

    /// Everything from now on, and what came after `last` and `tenant` (None: everybody) sees, if all of it is still kept.
    /// `news` are everybody's.
    pub fn listen(&self, last: Option<&str>, tenant: Option<&str>) -> Resumed {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let news = self.0.news.subscribe();
        let from = kept.position(tenant);
        let Some(last) = last else { return Resumed { missed: Some(Vec::new()), from, news } };
        let number = last.split_once('-').and_then(|(run, number)| {
            let same = u64::from_str_radix(run, 16).ok()? == self.0.run.hash_one(tenant);
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
        let id = |n: u64| bus.id(Some("ten_a"), n);
        let listen = |last: &str| bus.listen(Some(last), Some("ten_a")).missed;
        let missed = listen(&id(1)).unwrap();
        assert_eq!(missed.iter().map(|c| c.number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(bus.listen(None, Some("ten_a")).from, 3);
        assert_eq!(listen(&id(3)), Some(Vec::new()));
        for last in ["", "x-1", &id(9), &Bus::default().id(Some("ten_a"), 1), &bus.id(Some("ten_b"), 1)] {
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
        tell(None, 1);
        tell(Some("ten_a"), 2);
        tell(Some("ten_b"), 3);
        (0..2 * KEPT as u64).for_each(|n| tell(Some("ten_b"), n));
        tell(Some("ten_a"), 4);
        let of = |tenant| bus.listen(Some(&bus.id(tenant, 0)), tenant).missed;
        let ids: Vec<_> = of(Some("ten_a")).unwrap().iter().map(|change| change.id.clone()).collect();
        assert_eq!(ids, ["1", "2", "4"]);
        assert!(of(Some("ten_b")).is_none() && of(None).is_none());
        let newest = bus.listen(Some(&bus.id(None, 2 * KEPT as u64)), None).missed.unwrap();
        assert!(newest.is_sorted_by_key(|change| change.number) && newest.len() == 4, "{}", newest.len());
    }

    #[test]
    fn a_tenants_position_counts_what_it_is_told_and_nothing_of_the_others() {
        let bus = Bus::default();
        let tell = |tenant, id: &str| bus.tell(tenant, "agent", id, serde_json::Value::Null);
        let at = |tenant| bus.listen(None, tenant).from;
        (0..100).for_each(|_| tell(Some("ten_b"), "b"));
        assert_eq!((at(Some("ten_a")), at(Some("ten_b")), at(None)), (0, 100, 100));
        tell(Some("ten_a"), "1");
        tell(None, "2");
        (0..100).for_each(|_| tell(Some("ten_b"), "b"));
        tell(Some("ten_a"), "3");
        assert_eq!((at(Some("ten_a")), at(None)), (3, 203));
        for (last, expected) in [(0, &["1", "2", "3"][..]), (1, &["2", "3"]), (2, &["3"]), (3, &[])] {
            let missed = bus.listen(Some(&bus.id(Some("ten_a"), last)), Some("ten_a")).missed.unwrap();
            assert_eq!(missed.iter().map(|change| &*change.id).collect::<Vec<_>>(), expected);
        }
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
