//! One RTMP address of a destination: why it failed, when it is tried again, and when it is given up.

use super::job::Rules;
use crate::output::backoff::Backoff;
use std::fmt;
use std::time::{Duration, Instant};

/// Names an address for as long as its destination lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u32);

/// Why an address failed, read off the worker's words (GStreamer's rtmp2sink).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Refused,
    /// The server closed when the stream was to begin: how most platforms turn a key away. `words` when it gave a reason.
    Key {
        words: Option<String>,
    },
    Certificate,
    NoHost,
    Silent,
    /// No answer any more, after it had taken the stream in for a while.
    Stalled,
    Other(String),
}

impl Cause {
    /// `sent`: it had begun to send.
    pub fn read(error: &str, sent: bool) -> Self {
        let says = |words: &str| error.contains(words);
        if says("TLS certificate") {
            Cause::Certificate
        } else if let Some((_, reason)) = error.split_once("'publish' cmd failed") {
            let reason = reason.trim_start_matches([':', ' ']);
            let wordless = reason.is_empty() || reason.contains("connection closed remotely");
            Cause::Key { words: (!wordless).then(|| reason.to_owned()) }
        } else if says("Connection refused") {
            Cause::Refused
        } else if says("timed out") || says("no outbound progress") {
            if sent { Cause::Stalled } else { Cause::Silent }
        } else if says("resolv") {
            Cause::NoHost
        } else if error.is_empty() {
            Cause::Other("LiveKit's egress worker gave it up without a reason".into())
        } else {
            Cause::Other(format!("LiveKit's egress worker says: {error}"))
        }
    }
}

/// A [`Cause`] and whose it is, as a sentence with what to do.
struct Words<'a>(&'a Cause, &'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.1;
        match self.0 {
            Cause::Refused => write!(
                f,
                "{address} refuses connections from LiveKit's egress worker; check the port and that the server is running"
            ),
            Cause::Key { words: Some(words) } => {
                write!(
                    f,
                    "{address} refuses the stream key (it says: {words}); check the key, and whether it was reset"
                )
            }
            Cause::Key { words: None } => {
                write!(f, "{address} refuses the stream key; check the key, and whether it was reset")
            }
            Cause::Certificate => write!(
                f,
                "LiveKit's egress worker does not trust the certificate of {address}; check the host, or install the \
                 authority's certificate where the worker runs"
            ),
            Cause::NoHost => write!(
                f,
                "LiveKit's egress worker does not know the host of {address}; check the spelling and the worker's DNS"
            ),
            Cause::Silent => write!(
                f,
                "{address} does not answer LiveKit's egress worker; check the port and whether a firewall stands between"
            ),
            Cause::Stalled => write!(f, "{address} takes nothing in any more; the connection has stalled"),
            Cause::Other(detail) => write!(f, "{address}: {detail}"),
        }
    }
}

/// One address, across jobs.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub id: TargetId,
    /// Host and port, for words.
    pub address: String,
    /// Not part of a job before this.
    pub due: Instant,
    pub error: Option<String>,
    /// Given up until a person mends it.
    pub rests: bool,
    /// Was taken away; leaves the list once no job carries it.
    pub removed: bool,
    backoff: Backoff,
    /// Refusals of the key in a row.
    refusals: u32,
    /// The key has worked.
    proven: bool,
}

impl Target {
    pub fn new(id: TargetId, address: String, rules: &Rules, now: Instant) -> Self {
        let backoff = Backoff::new(rules.backoff);
        Self { id, address, due: now, error: None, rests: false, removed: false, backoff, refusals: 0, proven: false }
    }

    /// May take part in a job at some time.
    pub fn is_wanted(&self) -> bool {
        !self.rests && !self.removed
    }

    /// It sends, as far as anybody can tell.
    pub fn live(&mut self) {
        self.error = None;
        self.refusals = 0;
        self.proven = true;
    }

    /// Counts a failure after `lived`: sets the pause, or gives up a key that was refused once too often. A key that has
    /// worked and is turned away without words stays good: the server may still hold the broken connection.
    pub fn failed(&mut self, cause: &Cause, lived: Duration, random: f64, rules: &Rules, now: Instant) {
        self.backoff.lived(lived);
        self.due = now + self.backoff.next_pause(random);
        let mut words = Words(cause, &self.address).to_string();
        match cause {
            Cause::Key { words: said } => {
                self.refusals += 1;
                if self.refusals >= rules.refusals && (said.is_some() || !self.proven) {
                    self.rests = true;
                    words += "; then start the stream again";
                }
            }
            _ => self.refusals = 0,
        }
        self.error = Some(words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> (Target, Rules, Instant) {
        let (rules, now) = (Rules::default(), Instant::now());
        (Target::new(TargetId(1), "a.example.com:1935".into(), &rules, now), rules, now)
    }

    #[test]
    fn words_of_the_worker_are_read_for_what_they_mean() {
        let key = |words: Option<&str>| Cause::Key { words: words.map(str::to_owned) };
        for (error, sent, wanted) in [
            ("Connection refused: Could not connect to 127.0.0.1: Connection refused", false, Cause::Refused),
            ("Failed to connect: 'publish' cmd failed: connection closed remotely", false, key(None)),
            ("Failed to connect: 'publish' cmd failed: no such stream", false, key(Some("no such stream"))),
            ("Failed to connect: Unacceptable TLS certificate", false, Cause::Certificate),
            ("Failed to connect: Socket I/O timed out", false, Cause::Silent),
            ("Failed to connect: Socket I/O timed out", true, Cause::Stalled),
            ("Error resolving “h”: Name or service not known", false, Cause::NoHost),
        ] {
            assert_eq!(Cause::read(error, sent), wanted, "{error}");
        }
        assert!(matches!(Cause::read("", false), Cause::Other(_)));
    }

    #[test]
    fn a_key_refused_three_times_is_given_up_and_other_failures_never_are() {
        let (mut target, rules, now) = target();
        let key = Cause::Key { words: None };
        for _ in 0..2 {
            target.failed(&key, Duration::ZERO, 0.5, &rules, now);
        }
        target.failed(&Cause::Refused, Duration::ZERO, 0.5, &rules, now);
        target.failed(&key, Duration::ZERO, 0.5, &rules, now);
        target.failed(&key, Duration::ZERO, 0.5, &rules, now);
        assert!(!target.rests);
        target.failed(&key, Duration::ZERO, 0.5, &rules, now);
        assert!(target.rests && target.error.unwrap().ends_with("then start the stream again"));
    }

    #[test]
    fn a_key_that_has_worked_is_given_up_only_when_the_server_says_why() {
        let (mut target, rules, now) = target();
        target.live();
        for _ in 0..9 {
            target.failed(&Cause::Key { words: None }, Duration::ZERO, 0.5, &rules, now);
        }
        assert!(!target.rests && target.due > now + Duration::from_secs(20));
        target.failed(&Cause::Key { words: Some("banned".into()) }, Duration::ZERO, 0.5, &rules, now);
        assert!(target.rests && target.error.unwrap().contains("it says: banned"));
    }
}
