//! The real Chromium, headless.

use super::dir::TempDir;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Chromium and all its processes; they go with it.
pub struct Browser(Child);

impl Browser {
    pub fn open(url: &str, profile: &TempDir) -> Browser {
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--autoplay-policy=no-user-gesture-required", "--window-size=1280,760"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Keeps it running, without opening it to anybody.
            .args(["--remote-debugging-port=0", url])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Browser(command.spawn().expect("the tests need the chromium program"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // SAFETY: the group was made for this child, which is not waited for yet, so the number is still its own.
        unsafe { libc::kill(-(self.0.id() as i32), libc::SIGKILL) };
        let _ = self.0.wait();
    }
}
