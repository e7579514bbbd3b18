//! The real program as a child process: what it says, how it ends. It never outlives its test.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Start-up included, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub fn agentcast() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agentcast"));
    // What the developer's own shell has set is none of the tests' business.
    let others = ["AGENTCAST_STREAM_KEY", "AGENTCAST_CONFIG"];
    for setting in agentcast::config::settings::SETTINGS {
        command.env_remove(setting.env).env_remove(format!("{}_FILE", setting.env));
    }
    for name in others {
        command.env_remove(name);
    }
    command
}

/// A file of this repository.
pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[derive(Default)]
struct Said {
    words: Mutex<Words>,
    more: Condvar,
}

#[derive(Default)]
struct Words {
    lines: Vec<String>,
    /// What has no line end yet, of each output.
    open: [String; 2],
}

impl Words {
    fn all(&self) -> String {
        [&self.lines[..], &self.open[..]].concat().join("\n")
    }
}

impl Said {
    fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running program with both of its outputs read.
pub struct Program {
    child: Child,
    said: Arc<Said>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let said = Arc::<Said>::default();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("it was asked for")),
            Box::new(child.stderr.take().expect("it was asked for")),
        ];
        let readers = outputs.into_iter().enumerate().map(|(n, mut output)| {
            let said = said.clone();
            std::thread::spawn(move || {
                let (mut open, mut chunk) = (Vec::new(), [0; 4_096]);
                while let Ok(got @ 1..) = output.read(&mut chunk) {
                    open.extend_from_slice(&chunk[..got]);
                    let mut words = said.words();
                    while let Some(end) = open.iter().position(|b| *b == b'\n') {
                        words.lines.push(String::from_utf8_lossy(&open[..end]).into_owned());
                        open.drain(..=end);
                    }
                    words.open[n] = String::from_utf8_lossy(&open).into_owned();
                    said.more.notify_all();
                }
            })
        });
        let readers = readers.collect();
        Program { child, said, readers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input; dropping it is the end of file.
    pub fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    /// All it said on both outputs.
    pub fn said(&self) -> String {
        self.said.words().all()
    }

    /// Waits for a line with these words and returns it.
    #[track_caller]
    pub fn wait_for(&self, words: &str) -> String {
        self.wait_in(words, |said| said.lines.iter().find(|line| line.contains(words)).cloned())
    }

    /// Waits for these words, in a line that may not have ended, as a prompt.
    #[track_caller]
    pub fn wait_for_prompt(&self, words: &str) {
        self.wait_in(words, |said| said.open.iter().any(|open| open.contains(words)).then_some(()));
    }

    #[track_caller]
    fn wait_in<T>(&self, words: &str, find: impl Fn(&Words) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut said = self.said.words();
        loop {
            if let Some(found) = find(&said) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it never said {words:?}, but:\n{}", said.all());
            said = self.said.more.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: our own child, not yet waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn end(&mut self, within: Duration) -> ExitStatus {
        let status = wait_until("the program to end", within, || self.child.try_wait().expect("our own child"));
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// Asks it to end and waits as long as a clean end may take: 4 s by itself, and a busy machine's share.
    #[track_caller]
    pub fn stop(&mut self, signal: i32) -> ExitStatus {
        self.signal(signal);
        self.end(Duration::from_secs(15))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the program said:\n{}", self.said());
        }
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
pub fn wait_until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {within:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs it to its end: exit code and what it said.
#[track_caller]
pub fn run(args: &[&str]) -> (i32, String) {
    let mut program = Program::start(agentcast().args(args));
    drop(program.input());
    let status = program.end(2 * PATIENCE);
    (status.code().unwrap_or(-1), program.said())
}

/// The command lines of a process and all its descendants.
pub fn command_lines(root: u32) -> Vec<String> {
    let mut family = vec![root];
    let mut at = 0;
    while let Some(&pid) = family.get(at) {
        at += 1;
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    let line = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    family.iter().map(|pid| String::from_utf8_lossy(&line(pid)).replace('\0', " ")).collect()
}

/// What ffprobe says of a file, one `key=value` a line.
pub fn probe(path: &Path, entries: &str) -> String {
    let out = Command::new("ffprobe")
        .args(["-v", "error", "-count_packets", "-of", "default=noprint_wrappers=1", "-show_entries", entries])
        .arg(path)
        .output()
        .expect("the tests need the ffprobe program");
    let (said, wrong) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && wrong.is_empty(), "{}: {wrong}", path.display());
    said.into_owned()
}

/// Seconds that a file plays.
pub fn duration(path: &Path) -> f64 {
    let said = probe(path, "format=duration");
    said.trim().trim_start_matches("duration=").parse().unwrap_or_else(|_| panic!("{}: {said}", path.display()))
}
