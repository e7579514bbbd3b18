//! Stream keys for `play` and `demo`, and `key`: the keys that the service is given.

use super::settings::SettingArgs;
use super::status::say;
use super::{database, usage};
use crate::output::key::StreamKey;
use crate::secure::{Keyring, KeyringError, random_hex};
use crate::server::rotate::{Rotated, rotate};
use crate::server::who::Who;
use anyhow::{Context, bail};
use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::ExposeSecret;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

#[derive(Subcommand, Debug)]
pub(super) enum Keys {
    /// Print a new key-encryption key for STREAM_KEY_ENCRYPTION_KEY
    Generate {
        /// A secret for STREAMING_JWT_SECRET in its place
        #[arg(long)]
        jwt: bool,
    },
    /// Wrap every stored stream key by the first key of STREAM_KEY_ENCRYPTION_KEY
    ///
    /// To change keys: make one with `key generate`, put it before the old one (NEW,OLD), restart the service, run `key rotate`,
    /// take the old one away. The service goes on meanwhile. Broken off, it can be run again; nothing is lost.
    Rotate {
        #[command(flatten)]
        settings: Box<SettingArgs>,
    },
}

/// `key …`
pub(super) fn run(command: Keys) -> anyhow::Result<ExitCode> {
    match command {
        Keys::Generate { jwt } => {
            let key = if jwt { random_hex() } else { Keyring::generate() };
            // Printing it is what the command is for.
            writeln!(std::io::stdout().lock(), "{}", key.expose_secret())?;
            Ok(ExitCode::SUCCESS)
        }
        Keys::Rotate { settings } => {
            let loaded = settings.load()?;
            let text = loaded.secrets.stream_key_encryption_key.as_ref().ok_or(KeyringError::Missing);
            let keyring = text.and_then(Keyring::parse).map_err(|error| usage(error.to_string()))?;
            let done = database::block_on(async {
                let store = database::open(&loaded).await?;
                let done = rotate(&store, &keyring, &Who::cli()).await;
                store.close().await;
                Ok(done?)
            })?;
            report(&done)
        }
    }
}

fn report(done: &Rotated) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} stream keys wrapped anew by key {}", done.rewrapped, done.kid)?;
    for (destination, why) in &done.broken {
        writeln!(out, "{destination}: {why}")?;
    }
    if done.left > 0 {
        say!(
            "{} keys were set by the old key meanwhile: restart the service with the new one first, then run this again",
            done.left
        );
    }
    if let Some(old) = &done.behind {
        say!(
            "The service last started with key {old} first, and seals by it what is set meanwhile. Keep {old}: restart the service \
             with {} first (STREAM_KEY_ENCRYPTION_KEY=NEW,OLD), then run this again.",
            done.kid
        );
    }
    if done.complete() {
        say!(
            "Nothing needs the other keys any more, as long as the service runs with {} first: STREAM_KEY_ENCRYPTION_KEY may lose \
             them.",
            done.kid
        );
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

/// Where the stream key comes from, in this order: the file, `AGENTCAST_STREAM_KEY`, a prompt on the terminal.
/// Never from an argument: others on the host can read those.
pub fn find(file: Option<&Path>, host: &str) -> anyhow::Result<StreamKey> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).with_context(|| format!("--key-file {}", path.display()))?;
        let key = text.trim();
        if key.is_empty() {
            bail!("--key-file {} is empty: it must hold the stream key on one line", path.display());
        }
        return StreamKey::new(key).with_context(|| format!("--key-file {}", path.display()));
    }
    if let Ok(key) = std::env::var("AGENTCAST_STREAM_KEY") {
        if key.trim().is_empty() {
            bail!("AGENTCAST_STREAM_KEY is empty: set it to the stream key, or leave it out to be asked");
        }
        return StreamKey::new(key.trim()).context("AGENTCAST_STREAM_KEY");
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            usage(format!("{host} needs a stream key: give it by --key-file FILE or AGENTCAST_STREAM_KEY")).into()
        );
    }
    let key = ask(&format!("Stream key for {host} (not shown): ")).context("reading the key")?;
    if key.trim().is_empty() {
        bail!("no stream key given");
    }
    Ok(StreamKey::new(key.trim())?)
}

/// Turns the echo off before the prompt appears, so that a key pasted (or sent by a script) at once is not shown either.
fn ask(prompt: &str) -> std::io::Result<String> {
    let terminal = std::fs::File::open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Now, &quiet)?;
    let key = rpassword::prompt_password(prompt);
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    key
}
