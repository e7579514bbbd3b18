//! Lines of the log on their way to standard error. Whoever reads it may stall (a full pipe, a stopped terminal, a busy disk):
//! the program must not stall with it, so a thread writes, and what does not fit into its queue is counted and left out.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Lines that may wait.
const QUEUE: usize = 4_096;
/// Bytes of a line that may wait; the rest is cut off.
const LINE: usize = 16 << 10;

pub struct Lines {
    queue: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

enum Entry {
    Line(Box<[u8]>),
    /// Told when everything before it is written.
    Flush(SyncSender<()>),
}

impl Lines {
    /// `left_out`: a line that says how many are missing at its place.
    ///
    /// # Errors
    ///
    /// When the system starts no thread.
    pub fn start(out: impl Write + Send + 'static, left_out: fn(u64) -> String) -> std::io::Result<Lines> {
        let (queue, inbox) = sync_channel(QUEUE);
        let lost = Arc::<AtomicU64>::default();
        let counted = lost.clone();
        Builder::new().name("log".into()).spawn(move || write(out, &inbox, &counted, left_out))?;
        Ok(Lines { queue, lost })
    }

    /// Never waits. The line has its end.
    pub fn push(&self, line: &str) {
        let line = match line.get(..line.floor_char_boundary(LINE)) {
            Some(short) if short.len() < line.len() => format!("{short}…\n").into_bytes(),
            _ => line.as_bytes().to_vec(),
        };
        if self.queue.try_send(Entry::Line(line.into())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether everything was written within this time.
    pub fn flush(&self, within: Duration) -> bool {
        let by = Instant::now() + within;
        let (done, written) = sync_channel(1);
        let mut entry = Entry::Flush(done);
        loop {
            match self.queue.try_send(entry) {
                Ok(()) => return written.recv_timeout(by.saturating_duration_since(Instant::now())).is_ok(),
                Err(std::sync::mpsc::TrySendError::Full(back)) if Instant::now() < by => entry = back,
                Err(_) => return false,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Until the last sender is gone. A reader that has gone is no reason to end.
fn write(mut out: impl Write, inbox: &Receiver<Entry>, lost: &AtomicU64, left_out: fn(u64) -> String) {
    for entry in inbox {
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = out.write_all(left_out(missing).as_bytes());
        }
        match entry {
            Entry::Line(line) => _ = out.write_all(&line),
            Entry::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn left_out(missing: u64) -> String {
        format!("missing {missing}\n")
    }

    #[test]
    fn reader_that_stalls_costs_lines_and_never_time() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let lines = Lines::start(writer, left_out).unwrap();
        let began = Instant::now();
        let line = "x".repeat(199) + "\n";
        for _ in 0..20_000 {
            lines.push(&line);
        }
        assert!(!lines.flush(Duration::from_millis(50)), "nobody reads");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert!(lines.flush(Duration::from_secs(20)), "it goes on where it is read again");
        lines.push("the last\n");
        assert!(lines.flush(Duration::from_secs(20)));
        drop(lines);
        let text = reading.join().unwrap();
        let missing: u64 = text.lines().filter_map(|l| l.strip_prefix("missing ")?.parse::<u64>().ok()).sum();
        let whole = text.lines().filter(|l| l.len() == 199).count() as u64;
        assert!(missing > 10_000 && missing + whole == 20_000, "{missing} {whole}");
        assert!(text.ends_with("the last\n"));
    }

    #[test]
    fn line_without_an_end_in_sight_is_cut() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let lines = Lines::start(writer, left_out).unwrap();
        lines.push(&("é".repeat(20_000) + "\n"));
        lines.push("next\n");
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        assert!(lines.flush(Duration::from_secs(20)));
        drop(lines);
        let text = reading.join().unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.len() <= LINE + 3 && first.ends_with('…') && text.ends_with("\nnext\n"));
    }
}
