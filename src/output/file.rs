//! Recording into a fragmented MP4 that plays up to its last half second whatever happens to the process.

use super::mux::{Fragmenter, MuxError};
use super::queue::{Popped, SharedQueue};
use super::rate::Rate;
use super::worker::{Ended, Worker};
use super::{Destination, State, Status};
use crate::encode::{EncodedPacket, StreamInfo, TICKS};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest fragment, and so the most that a killed process loses of what it had got: half a second.
const FRAGMENT: i64 = TICKS / 2;
/// Media that waits for a slow disk before video is dropped.
const QUEUE: Duration = Duration::from_secs(4);
/// How often the thread looks up while nothing comes.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} exists already; choose another name or allow overwriting", .0.display())]
    Exists(PathBuf),
    #[error("cannot record to {}: {source}", .path.display())]
    Open { path: PathBuf, source: io::Error },
}

/// A recording. Dropping it without [`Destination::stop`] gives it half a second to end.
///
/// Every fragment goes to the kernel as soon as it is whole, so `kill -9` loses half a second at most. When the stream's
/// parameters change, a new part begins: `match.mp4`, `match-2.mp4`, … A write that fails (a full disk) ends the
/// recording, cut behind its last whole fragment, and nothing else: [`State::NeedsAttention`] and a word on why.
#[derive(Debug)]
pub struct FileOutput {
    shared: Arc<Shared>,
    worker: Worker,
}

#[derive(Debug)]
struct Shared {
    name: String,
    queue: SharedQueue,
    life: Mutex<Life>,
}

/// The part of the status that the thread writes.
#[derive(Debug, Default)]
struct Life {
    state: State,
    last_error: Option<String>,
    bytes: u64,
    rate: Rate,
}

impl Life {
    /// The end; of one that had given up nothing changes.
    fn stopped(&mut self) {
        if self.state != State::NeedsAttention {
            self.state = State::Stopped;
        }
    }
}

impl Shared {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileOutput {
    /// Opens the file and starts the thread. An existing file is refused, or with `overwrite` emptied when the first packet
    /// comes; the same goes for later parts, except that without `overwrite` a part takes the next free number.
    pub fn create(path: impl Into<PathBuf>, overwrite: bool) -> Result<Self, FileError> {
        let path = path.into();
        let file = open(&path, overwrite).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists(path.clone()),
            _ => FileError::Open { path: path.clone(), source },
        })?;
        let name = format!("file {}", path.file_name().unwrap_or_default().display());
        let shared = Arc::new(Shared { name, queue: SharedQueue::new(QUEUE), life: Mutex::default() });
        let recorder = Recorder {
            shared: shared.clone(),
            base: path.clone(),
            overwrite,
            parts: 0,
            ready: Some((path.clone(), file)),
            part: None,
        };
        let worker = Worker::spawn("record", || recorder.run()).map_err(|source| FileError::Open { path, source })?;
        Ok(Self { shared, worker })
    }

    fn shut_down(&mut self, deadline: Duration) {
        self.shared.queue.close();
        match self.worker.end(&self.shared.name, deadline) {
            None => {}
            // A write that hangs in the kernel cannot be interrupted. What is on disk plays.
            Some(Ended::Late) => {
                self.shared.queue.refuse();
                let mut life = self.shared.life();
                life.state = State::NeedsAttention;
                let words = || format!("the disk did not take the last seconds within {deadline:?}; they may be lost");
                life.last_error.get_or_insert_with(words);
            }
            // A recording that failed, even in its last write, stays so.
            Some(Ended::InTime) => self.shared.life().stopped(),
        }
    }
}

impl Drop for FileOutput {
    fn drop(&mut self) {
        self.shut_down(Duration::from_millis(500));
    }
}

impl Destination for FileOutput {
    fn configure(&mut self, info: Arc<StreamInfo>) {
        self.shared.queue.configure(info);
    }

    fn send(&mut self, packet: EncodedPacket) {
        self.shared.queue.push(packet);
    }

    fn status(&self) -> Status {
        let stats = self.shared.queue.stats();
        let mut life = self.shared.life();
        Status {
            name: self.shared.name.clone(),
            state: life.state,
            last_error: life.last_error.clone(),
            bytes: life.bytes,
            kbps: life.rate.kbps(Instant::now()),
            dropped: stats.dropped_video,
            reconnects: 0,
            retry_ms: None,
            viewers: None,
            queue_ms: u32::try_from(stats.queued.as_millis()).unwrap_or(u32::MAX),
        }
    }

    fn stop(mut self: Box<Self>, deadline: Duration) -> Status {
        self.shut_down(deadline);
        self.status()
    }
}

/// Why a recording ended before it was told to.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("the disk is full; the recording ended, free some space and start a new one")]
    Full,
    #[error("the file may not grow any further; the recording ended")]
    TooLarge,
    #[error("writing failed and the recording ended: {0}")]
    Write(io::Error),
    #[error("the next part could not be opened and the recording ended: {0}")]
    NextPart(io::Error),
    #[error(transparent)]
    Mux(#[from] MuxError),
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::FileTooLarge => Self::TooLarge,
            _ => Self::Write(error),
        }
    }
}

/// The thread.
struct Recorder {
    shared: Arc<Shared>,
    /// Name of the first part.
    base: PathBuf,
    overwrite: bool,
    /// Begun so far.
    parts: u32,
    /// The first part's file until its first packet.
    ready: Option<(PathBuf, File)>,
    part: Option<Part>,
}

struct Part {
    info: Arc<StreamInfo>,
    path: PathBuf,
    file: Recording,
    fragmenter: Fragmenter,
}

/// The file, and its length up to the end of the last whole fragment.
struct Recording {
    file: File,
    len: u64,
}

impl Recorder {
    fn run(mut self) {
        match self.record() {
            Ok(()) => self.shared.life().stopped(),
            Err(error) => {
                self.shared.queue.refuse();
                tracing::error!(destination = self.shared.name, "{error}");
                let mut life = self.shared.life();
                life.state = State::NeedsAttention;
                life.last_error = Some(error.to_string());
            }
        }
        if let Some((path, file)) = self.ready.take()
            && file.metadata().is_ok_and(|m| m.is_file() && m.len() == 0)
        {
            // Nothing came: leave no empty file behind.
            let _ = std::fs::remove_file(path);
        }
    }

    fn record(&mut self) -> Result<(), RecordError> {
        loop {
            let item = match self.shared.queue.pop(Instant::now() + IDLE) {
                Popped::Packet(item) => item,
                Popped::TimedOut => continue,
                Popped::Closed => return self.end_part(),
            };
            if self.part.as_ref().is_none_or(|p| *p.info != *item.info) {
                self.end_part()?;
                self.begin_part(&item.info)?;
            }
            if let Some(part) = &mut self.part
                && let Some(fragment) = part.fragmenter.push(&item.packet)?
            {
                part.file.write(&fragment.bytes, &self.shared)?;
            }
        }
    }

    fn begin_part(&mut self, info: &Arc<StreamInfo>) -> Result<(), RecordError> {
        let (path, file) = match self.ready.take() {
            Some(ready) => ready,
            None => self.next_part().map_err(RecordError::NextPart)?,
        };
        self.parts = self.parts.max(1);
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        let (fragmenter, init) = Fragmenter::new(info, FRAGMENT, true)?;
        let mut file = Recording { file, len: 0 };
        file.write(&init, &self.shared)?;
        tracing::info!(destination = self.shared.name, "recording to {}", path.display());
        self.part = Some(Part { info: info.clone(), path, file, fragmenter });
        self.shared.life().state = State::Live;
        Ok(())
    }

    fn next_part(&mut self) -> io::Result<(PathBuf, File)> {
        loop {
            self.parts += 1;
            let path = part_path(&self.base, self.parts);
            match open(&path, self.overwrite) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result.map(|file| (path, file)),
            }
        }
    }

    fn end_part(&mut self) -> Result<(), RecordError> {
        let Some(mut part) = self.part.take() else { return Ok(()) };
        let (last, index) = part.fragmenter.finish()?;
        if let Some(fragment) = last {
            part.file.write(&fragment.bytes, &self.shared)?;
        }
        part.file.write(&index, &self.shared)?;
        part.file.file.sync_all()?;
        tracing::info!(destination = self.shared.name, "{} ended, {} bytes", part.path.display(), part.file.len);
        Ok(())
    }
}

impl Recording {
    /// Appends, or leaves the file as it was: half a fragment at the end helps nobody.
    fn write(&mut self, bytes: &[u8], shared: &Shared) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // Where it cannot be cut (a device), players skip the half.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        self.len += bytes.len() as u64;
        let mut life = shared.life();
        life.bytes += bytes.len() as u64;
        life.rate.add(Instant::now(), bytes.len());
        Ok(())
    }
}

fn open(path: &Path, overwrite: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    if overwrite {
        options.create(true)
    } else {
        options.create_new(true)
    };
    options.open(path)
}

/// `match.mp4` → `match-2.mp4`.
fn part_path(base: &Path, number: u32) -> PathBuf {
    let mut name = base.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(extension) = base.extension() {
        name.push(".");
        name.push(extension);
    }
    base.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_before_the_extension() {
        assert_eq!(part_path(Path::new("/a/match.final.mp4"), 2), Path::new("/a/match.final-2.mp4"));
        assert_eq!(part_path(Path::new("match"), 12), Path::new("match-12"));
    }
}
