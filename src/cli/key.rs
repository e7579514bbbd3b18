use super::usage;
use crate::output::key::StreamKey;
use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::IsTerminal;
use std::path::Path;

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
