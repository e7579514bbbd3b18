//! What a tree of processes costs, read from /proc, and how to end it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

/// Programs that work together, and everything they start. Dropping it ends them all, by their ids.
pub struct Tree {
    children: Vec<Child>,
    /// Descendants of this process that were there before.
    others: BTreeSet<i32>,
}

/// What a tree has used so far.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Processor time of user and kernel, seconds, by the name of the program.
    pub cpu: BTreeMap<String, f64>,
    /// Memory: a page that n processes share counts as 1/n for each (PSS); RSS where the kernel does not say. Bytes.
    pub memory: u64,
}

impl Usage {
    pub fn seconds(&self) -> f64 {
        self.cpu.values().sum()
    }
}

/// The fields of /proc/PID/stat that are needed here.
struct Stat {
    pid: i32,
    parent: i32,
    name: String,
    state: char,
    /// Its own time and that of its children which it has waited for, clock ticks.
    ticks: u64,
    resident_pages: u64,
}

impl Tree {
    /// An empty tree. Start it before the programs that shall count.
    pub fn new() -> Tree {
        // Programs whose parent ends become our children instead of init's, so that none gets lost.
        // SAFETY: sets a flag of this process and touches no memory.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        Tree { children: Vec::new(), others: descendants().into_iter().map(|s| s.pid).collect() }
    }

    pub fn add(&mut self, child: Child) {
        self.children.push(child);
    }

    /// Whether every program that was started is still there.
    pub fn is_whole(&mut self) -> bool {
        self.children.iter_mut().all(|c| matches!(c.try_wait(), Ok(None)))
    }

    /// A process that ends and is waited for adds to its parent's time, so the sum never falls.
    pub fn usage(&self) -> Usage {
        // SAFETY: asks for numbers and touches no memory.
        let (hz, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
        let mut usage = Usage::default();
        for process in self.processes() {
            *usage.cpu.entry(process.name).or_default() += process.ticks as f64 / hz as f64;
            usage.memory += pss(process.pid).unwrap_or(process.resident_pages * page as u64);
        }
        usage
    }

    fn processes(&self) -> Vec<Stat> {
        descendants().into_iter().filter(|s| !self.others.contains(&s.pid)).collect()
    }

    /// Asks the programs to end, last one first, and waits a little for each; kills what is left.
    fn end(&mut self) {
        while let Some(mut child) = self.children.pop() {
            signal(child.id() as i32, libc::SIGTERM);
            wait_for(Duration::from_secs(6), || !matches!(child.try_wait(), Ok(None)));
            let _ = child.kill();
            let _ = child.wait();
        }
        let empty = wait_for(Duration::from_secs(5), || {
            let left = self.processes();
            for process in &left {
                signal(process.pid, libc::SIGKILL);
                // SAFETY: a null status is allowed; every `Child` of ours has been waited for above.
                unsafe { libc::waitpid(process.pid, std::ptr::null_mut(), libc::WNOHANG) };
            }
            left.is_empty()
        });
        if !empty {
            let left: Vec<_> = self.processes().iter().map(|p| format!("{} {} {}", p.pid, p.name, p.state)).collect();
            eprintln!("these processes do not end: {}", left.join(", "));
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.end();
    }
}

/// Looks every 50 ms until `done` or the time is over; returns whether it was done.
pub fn wait_for(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: sends a signal to a process that descends from this one and touches no memory.
    unsafe { libc::kill(pid, signal) };
}

/// Every process that descends from this one.
fn descendants() -> Vec<Stat> {
    let entries = fs::read_dir("/proc").expect("the benchmarks need Linux");
    let mut all: Vec<Stat> = entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect();
    let mut known = BTreeSet::from([std::process::id() as i32]);
    let mut found = Vec::new();
    loop {
        let (of_ours, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|s| known.contains(&s.parent));
        if of_ours.is_empty() {
            return found;
        }
        known.extend(of_ours.iter().map(|s| s.pid));
        found.extend(of_ours);
        all = rest;
    }
}

/// Parses /proc/PID/stat, proc(5). The name stands in brackets and may hold any character.
fn stat(pid: i32, text: &str) -> Option<Stat> {
    let (head, tail) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    // Field 3 of the manual page is the first here.
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = (14..=17).map(number).sum::<Option<u64>>()?;
    let state = fields.first()?.chars().next()?;
    Some(Stat { pid, parent: number(4)? as i32, name, state, ticks, resident_pages: number(24)? })
}

fn pss(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}
