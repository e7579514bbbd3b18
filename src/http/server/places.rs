//! Places for connections. Those of callers who showed a key or a token are counted apart from those of everybody else, so
//! that no crowd of idle or anonymous connections keeps a game server, a health check or the kill switch out: without a
//! free place for strangers the oldest of them goes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// One of the places of callers with a token in this many is kept for those with an API key.
const FOR_KEYS: usize = 8;

/// The places of a server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Places(Arc<Shared>);

struct Shared {
    /// Connections of callers who are known.
    connections: usize,
    /// Others.
    strangers: usize,
    /// Connections from one address.
    per_address: usize,
    taken: Mutex<Taken>,
    /// Seats that are not left yet.
    tracker: TaskTracker,
}

#[derive(Default)]
struct Taken {
    next: u64,
    known: HashSet<u64>,
    /// By age.
    strangers: BTreeMap<u64, Stranger>,
    addresses: HashMap<IpAddr, usize>,
}

struct Stranger {
    cut: CancellationToken,
    /// Has shown what it is; there was no place for it among the known ones.
    named: bool,
}

/// A connection's place, until it is dropped.
pub(super) struct Place {
    places: Arc<Shared>,
    number: u64,
    /// Whom it counts for.
    address: Option<IpAddr>,
    pub cut: CancellationToken,
    _token: TaskTrackerToken,
}

/// Lets what finds out who calls tell the server so. In the extensions of every request.
#[derive(Clone, Debug)]
pub struct Guest(Weak<Place>);

impl Guest {
    /// The caller has shown a key or a token: its connection is no stranger's any more. `key`: an API key.
    pub fn known(&self, key: bool) {
        if let Some(place) = self.0.upgrade() {
            place.places.known(place.number, key);
        }
    }
}

impl Places {
    pub fn new(connections: usize, strangers: usize, per_address: usize) -> Places {
        let (taken, tracker) = (Mutex::default(), TaskTracker::new());
        // At least one each, or nobody could ever come in.
        let (connections, strangers, per_address) = (connections.max(1), strangers.max(1), per_address.max(1));
        Places(Arc::new(Shared { connections, strangers, per_address, taken, tracker }))
    }

    /// A place for a new connection; the oldest stranger may lose its own. None when the address has enough.
    /// `address`: None for one that many share.
    pub fn take(&self, address: Option<IpAddr>, cut: &CancellationToken) -> Option<Arc<Place>> {
        let address = address.map(network);
        let mut taken = self.0.lock();
        if let Some(address) = address {
            let held = taken.addresses.entry(address).or_default();
            if *held >= self.0.per_address {
                return None;
            }
            *held += 1;
        }
        if taken.strangers.len() >= self.0.strangers {
            taken.evict();
        }
        let (number, cut) = (taken.next, cut.child_token());
        taken.next += 1;
        taken.strangers.insert(number, Stranger { cut: cut.clone(), named: false });
        drop(taken);
        let _token = self.0.tracker.token();
        Some(Arc::new(Place { places: self.0.clone(), number, address, cut, _token }))
    }

    /// The oldest stranger goes: this process has too many files open.
    pub fn make_room(&self) {
        self.0.lock().evict();
    }

    /// When all places are left. Nobody comes after that.
    pub async fn left(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }
}

impl Taken {
    /// Those who never said who they are go first.
    fn evict(&mut self) {
        let oldest = self.strangers.iter().find(|(_, stranger)| !stranger.named).or(self.strangers.iter().next());
        if let Some(number) = oldest.map(|(number, _)| *number)
            && let Some(stranger) = self.strangers.remove(&number)
        {
            tracing::debug!("a connection was closed for a newer one: too many without a key or token");
            stranger.cut.cancel();
        }
    }
}

impl Shared {
    fn known(&self, number: u64, key: bool) {
        let mut taken = self.lock();
        let most = if key { self.connections } else { self.connections - self.connections / FOR_KEYS };
        let free = taken.known.len() < most;
        // Gone from the strangers: it is known already, or about to end.
        let Some(stranger) = taken.strangers.get_mut(&number) else { return };
        if free {
            taken.strangers.remove(&number);
            taken.known.insert(number);
        } else {
            stranger.named = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub fn guest(self: &Arc<Self>) -> Guest {
        Guest(Arc::downgrade(self))
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place({})", self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.strangers.remove(&self.number);
        if taken.known.remove(&self.number)
            && let Some(next) = taken.strangers.iter().find(|(_, stranger)| stranger.named).map(|(next, _)| *next)
        {
            taken.strangers.remove(&next);
            taken.known.insert(next);
        }
        if let Some(address) = self.address
            && let Some(held) = taken.addresses.get_mut(&address)
        {
            *held -= 1;
            if *held == 0 {
                taken.addresses.remove(&address);
            }
        }
    }
}

/// Who is counted as one: an IPv4 address, or an IPv6 network of 64 bits, which is what one customer has.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places) -> Arc<Place> {
        places.take(None, &CancellationToken::new()).expect("no address, no limit")
    }

    #[test]
    fn the_oldest_stranger_goes_and_known_callers_stay() {
        let places = Places::new(8, 2, 1);
        let known = take(&places);
        known.guest().known(false);
        let (first, second, third) = (take(&places), take(&places), take(&places));
        assert_eq!([&known, &first, &second, &third].map(|p| p.cut.is_cancelled()), [false, true, false, false]);
        // Leaving frees a place.
        drop(second);
        let fourth = take(&places);
        assert!(!third.cut.is_cancelled() && !fourth.cut.is_cancelled());
    }

    #[test]
    fn the_last_places_of_known_callers_are_for_api_keys_and_a_free_one_is_given_on() {
        let places = Places::new(8, 2, 1);
        let tokens: Vec<_> = (0..7).map(|_| take(&places)).inspect(|place| place.guest().known(false)).collect();
        let beyond = take(&places);
        beyond.guest().known(false);
        let key = take(&places);
        key.guest().known(true);
        // Two strangers come: the one that has shown a token stays longest.
        let (a, b) = (take(&places), take(&places));
        assert_eq!([&beyond, &key, &a, &b].map(|p| p.cut.is_cancelled()), [false, false, true, false]);
        drop(key);
        let (c, d) = (take(&places), take(&places));
        assert!(tokens.iter().chain([&beyond, &c, &d]).all(|place| !place.cut.is_cancelled()));
        assert!(b.cut.is_cancelled());
    }

    #[test]
    fn an_address_has_its_share_and_a_network_is_one_address() {
        let places = Places::new(8, 8, 2);
        let take = |text: &str| places.take(Some(text.parse().unwrap()), &CancellationToken::new());
        let (first, _second) = (take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap());
        assert!(take("2001:db8::3").is_none());
        assert!(take("2001:db8:0:1::1").is_some() && take("192.0.2.1").is_some());
        first.guest().known(true);
        assert!(take("2001:db8::3").is_none(), "known ones count too");
        drop(first);
        assert!(take("2001:db8::3").is_some());
    }
}
