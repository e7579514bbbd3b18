//! What may change while the service runs, and what needs a restart.

use super::Config;
use super::load::Loaded;
use super::settings::{Kind, SETTINGS};
use secrecy::ExposeSecret;

/// What became of settings that were read again.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The settings in force from now on.
    pub config: Config,
    /// `streaming.over: 45s → 30s`
    pub applied: Vec<String>,
    /// Names of settings that differ and wait for a restart.
    pub waiting: Vec<&'static str>,
}

/// Takes from `new` what may change while the service runs, and leaves the rest as it is `now`. `started`: what the service
/// was started with, so that what is put back no longer waits.
#[must_use]
pub fn reload(now: &Config, started: &Loaded, new: &Loaded) -> Reloaded {
    let mut reloaded = Reloaded { config: now.clone(), applied: Vec::new(), waiting: Vec::new() };
    let (mut before, mut after) = (started.secrets.clone(), new.secrets.clone());
    for setting in SETTINGS {
        match &setting.kind {
            Kind::Plain { set, show, .. } => {
                // Of what cannot change, what counts is what it was started with: port 0 has become one by now.
                let old = show(if setting.reloads { now } else { &started.config });
                let wanted = show(&new.config);
                if old == wanted {
                    continue;
                }
                // What `show` writes `set` reads.
                if setting.reloads && set(&mut reloaded.config, &wanted).is_ok() {
                    reloaded.applied.push(format!("{}: {} → {}", setting.name, word(&old), word(&wanted)));
                } else {
                    reloaded.waiting.push(setting.name);
                }
            }
            Kind::Secret { slot } => {
                let (old, wanted) = (slot(&mut before), slot(&mut after));
                if old.as_ref().map(|s| s.expose_secret()) != wanted.as_ref().map(|s| s.expose_secret()) {
                    reloaded.waiting.push(setting.name);
                }
            }
        }
    }
    reloaded
}

fn word(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

#[cfg(test)]
mod tests {
    use super::super::load::Inputs;
    use super::*;

    fn loaded(env: &[(&str, &str)]) -> Loaded {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Inputs { env, ..Inputs::default() }.load().unwrap()
    }

    #[test]
    fn what_may_change_changes_and_the_rest_waits_until_it_is_put_back() {
        let started = loaded(&[("STREAMING_JWT_SECRET", "first")]);
        let new = loaded(&[
            ("STREAMING_JWT_SECRET", "second"),
            ("AGENTCAST_LISTEN", "127.0.0.1:9"),
            ("AGENTCAST_STREAMING_OVER", "30s"),
            ("AGENTCAST_DESTINATIONS_ALLOWED_HOSTS", "live.example.com"),
        ]);
        let done = reload(&started.config, &started, &new);
        assert_eq!(done.config.streaming.over.as_secs(), 30);
        assert_eq!(done.config.listen, started.config.listen);
        assert_eq!(done.applied, ["streaming.over: 45s → 30s", "destinations.allowed_hosts: none → live.example.com"]);
        assert_eq!(done.waiting, ["listen", "streaming_jwt_secret"]);
        let back = reload(&done.config, &started, &started);
        assert_eq!(back.config.streaming.over.as_secs(), 45);
        assert!(back.waiting.is_empty() && back.applied.len() == 2, "{back:?}");
    }
}
