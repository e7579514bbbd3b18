use super::RenderError;
use super::passes::Passes;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// A frame that takes longer than this is taken for a hung device.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between attempts to get a lost device back.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);
/// How long the end waits for a device that is just being opened.
const REBUILD_END: Duration = Duration::from_secs(5);

/// Which graphics adapter to draw on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// A discrete GPU, else an integrated or virtual one, else the CPU (lavapipe).
    #[default]
    Auto,
    /// The best one whose name or driver contains this text, in any case.
    Named(String),
}

/// One adapter of this machine, as `agentcast check` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterReport {
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    pub kind: AdapterKind,
    /// Driver and its version.
    pub driver: String,
}

/// In order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    Discrete,
    Integrated,
    Virtual,
    Other,
    /// A software rasteriser: supported, slower.
    Cpu,
}

/// The graphics device that all streams share. Survives the loss of the device below it: the first renderer that notices
/// has it rebuilt on a thread of its own, and nobody waits for that.
pub struct Gpu {
    choice: AdapterChoice,
    slot: Arc<Mutex<Slot>>,
}

struct Slot {
    device: Arc<Device>,
    rebuild: Option<Rebuild>,
    /// What the last attempt to get a lost device back came to.
    failed: Option<(Instant, String)>,
}

/// The thread that opens the next device and puts it into the slot.
struct Rebuild {
    thread: JoinHandle<()>,
    /// Closed by the thread when it ends.
    ended: mpsc::Receiver<()>,
}

/// One life of the device: gone for good once lost.
pub(super) struct Device {
    pub raw: wgpu::Device,
    pub queue: wgpu::Queue,
    pub passes: Passes,
    pub adapter: AdapterReport,
    generation: u64,
    loss: Arc<OnceLock<String>>,
}

/// A buffer on its way to be read.
pub(super) struct Mapping {
    submission: wgpu::SubmissionIndex,
    result: mpsc::Receiver<bool>,
}

impl From<Option<String>> for AdapterChoice {
    fn from(name: Option<String>) -> AdapterChoice {
        name.map_or(AdapterChoice::Auto, AdapterChoice::Named)
    }
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AdapterKind::Discrete => "discrete GPU",
            AdapterKind::Integrated => "integrated GPU",
            AdapterKind::Virtual => "virtual GPU",
            AdapterKind::Other => "other",
            AdapterKind::Cpu => "CPU",
        })
    }
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}, {})", self.name, self.backend, self.kind, self.driver)
    }
}

/// The adapters that could draw here, best first.
pub fn adapters() -> Vec<AdapterReport> {
    enumerate().into_iter().map(|(report, _)| report).collect()
}

impl Gpu {
    /// Opens the chosen adapter and compiles the shaders.
    ///
    /// # Errors
    /// [`RenderError::NoAdapter`] says what was looked for and what was found.
    pub fn open(choice: AdapterChoice) -> Result<Arc<Gpu>, RenderError> {
        let device = Arc::new(Device::open(&choice, 0)?);
        Ok(Arc::new(Gpu { choice, slot: Arc::new(Mutex::new(Slot { device, rebuild: None, failed: None })) }))
    }

    /// The adapter in use.
    pub fn adapter(&self) -> AdapterReport {
        self.slot().device.adapter.clone()
    }

    /// How many times the device was rebuilt.
    pub fn generation(&self) -> u64 {
        self.slot().device.generation
    }

    /// Diagnostic: throws the device away as a driver reset would, frames in flight included.
    pub fn simulate_loss(&self) {
        let device = self.slot().device.clone();
        device.lose("simulated");
    }

    /// The living device. When it was lost, has the next one opened and never waits for that.
    ///
    /// # Errors
    /// [`RenderError::DeviceLost`] until the next one is there.
    pub(super) fn device(&self) -> Result<Arc<Device>, RenderError> {
        let mut slot = self.slot();
        let Some(reason) = slot.device.lost().map(str::to_owned) else { return Ok(slot.device.clone()) };
        if let Some(rebuild) = slot.rebuild.take() {
            if !rebuild.thread.is_finished() {
                slot.rebuild = Some(rebuild);
                return Err(RenderError::DeviceLost(reason));
            }
            if rebuild.thread.join().is_err() {
                slot.failed = Some((Instant::now(), "the driver panicked".to_owned()));
            }
        }
        let due = slot.failed.as_ref().is_none_or(|(at, _)| at.elapsed() >= REBUILD_PAUSE);
        if due {
            match self.rebuild(slot.device.generation + 1, &reason) {
                Ok(rebuild) => slot.rebuild = Some(rebuild),
                Err(e) => slot.failed = Some((Instant::now(), format!("no thread: {e}"))),
            }
        }
        Err(RenderError::DeviceLost(match &slot.failed {
            Some((_, e)) => format!("{reason}; not back yet: {e}"),
            None => reason,
        }))
    }

    /// Starts the thread that opens the next device.
    fn rebuild(&self, generation: u64, reason: &str) -> std::io::Result<Rebuild> {
        let (alive, ended) = mpsc::channel::<()>();
        let (choice, slot, reason) = (self.choice.clone(), self.slot.clone(), reason.to_owned());
        let work = move || {
            let _alive = alive;
            let opened = Device::open(&choice, generation);
            let mut slot = lock(&slot);
            match opened {
                Ok(device) => {
                    tracing::warn!(generation, reason, "graphics device rebuilt");
                    let gone = std::mem::replace(&mut slot.device, Arc::new(device));
                    slot.failed = None;
                    drop(slot);
                    // wgpu waits for a hung device here: better on this thread than on one that draws.
                    drop(gone);
                }
                Err(e) => slot.failed = Some((Instant::now(), e.to_string())),
            }
        };
        Ok(Rebuild { thread: Builder::new().name("gpu rebuild".into()).spawn(work)?, ended })
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        lock(&self.slot)
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let rebuild = self.slot().rebuild.take();
        if let Some(Rebuild { thread, ended }) = rebuild {
            // The thread sends nothing: this returns when it ends.
            if let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(REBUILD_END) {
                // It owns all it uses, and frees it when the driver lets it go.
                tracing::warn!("the graphics driver hangs in opening a device, left behind");
            } else if thread.join().is_err() {
                tracing::error!("opening a graphics device panicked");
            }
        }
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    fn open(choice: &AdapterChoice, generation: u64) -> Result<Device, RenderError> {
        let found = enumerate();
        let names: Vec<String> = found.iter().map(|(r, _)| r.to_string()).collect();
        let mut failures = Vec::new();
        for (report, adapter) in found.into_iter().filter(|(r, _)| choice.admits(r)) {
            match Device::on(&adapter, report.clone(), generation) {
                Ok(device) => {
                    tracing::info!(
                        adapter = report.name,
                        backend = report.backend,
                        kind = %report.kind,
                        driver = report.driver,
                        "graphics adapter"
                    );
                    return Ok(device);
                }
                Err(e) => {
                    tracing::warn!(adapter = report.name, error = %e, "graphics adapter cannot be used");
                    failures.push(format!("{}: {e}", report.name));
                }
            }
        }
        let list = if names.is_empty() { "none".to_owned() } else { names.join("; ") };
        Err(RenderError::NoAdapter(match choice {
            _ if !failures.is_empty() => failures.join("; "),
            AdapterChoice::Auto => format!("found {list}"),
            AdapterChoice::Named(name) => format!("nothing is called `{name}`, found {list}"),
        }))
    }

    fn on(adapter: &wgpu::Adapter, report: AdapterReport, generation: u64) -> Result<Device, RenderError> {
        let (raw, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("agentcast"),
            required_features: wgpu::Features::empty(),
            // The picture's size is checked against these when a renderer is made.
            required_limits: wgpu::Limits::downlevel_defaults().using_resolution(adapter.limits()),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        }))
        .map_err(|e| RenderError::Device(e.to_string()))?;
        let loss = Arc::new(OnceLock::new());
        let flag = loss.clone();
        raw.set_device_lost_callback(move |reason, message| {
            // Set already: we destroyed it ourselves.
            let _ = flag.set(format!("{reason:?}: {message}"));
        });
        // Without a handler of ours wgpu panics on an error outside every scope.
        raw.on_uncaptured_error(Arc::new(
            |e: wgpu::Error| tracing::error!(error = %e, "graphics error outside a frame"),
        ));
        let passes = scoped(&raw, || Passes::new(&raw)).map_err(|e| RenderError::Device(e.to_string()))?;
        Ok(Device { raw, queue, passes, adapter: report, generation, loss })
    }

    /// Why the device is gone, when it is.
    pub fn lost(&self) -> Option<&str> {
        self.loss.get().map(String::as_str)
    }

    /// Gives the device up.
    pub fn lose(&self, reason: &str) {
        let _ = self.loss.set(reason.to_owned());
        self.raw.destroy();
    }

    /// Runs `work` in error scopes. A device lost, or out of memory, ends this life of it.
    pub fn checked<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T, RenderError> {
        let result = scoped(&self.raw, work);
        if let Some(reason) = self.lost() {
            return Err(RenderError::DeviceLost(reason.to_owned()));
        }
        result.map_err(|e| match e {
            wgpu::Error::OutOfMemory { .. } => {
                let reason = format!("out of graphics memory: {what}");
                self.lose(&reason);
                RenderError::DeviceLost(reason)
            }
            e => RenderError::Device(format!("{what}: {e}")),
        })
    }

    /// Asks for a buffer to be mapped for reading once the work submitted so far is done with it.
    pub fn map(&self, buffer: &wgpu::Buffer, submission: wgpu::SubmissionIndex) -> Mapping {
        let (sender, result) = mpsc::sync_channel(1);
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            // Nobody listens when the renderer gave the frame up.
            let _ = sender.send(result.is_ok());
        });
        Mapping { submission, result }
    }

    /// Blocks until the buffer is mapped.
    pub fn wait(&self, mapping: &Mapping) -> Result<(), RenderError> {
        let deadline = Instant::now() + FRAME_TIMEOUT;
        let submission_index = Some(mapping.submission.clone());
        let mut poll = wgpu::PollType::Wait { submission_index, timeout: Some(FRAME_TIMEOUT) };
        let reason = loop {
            // wgpu panics in poll when the driver reports a lost device while it waits.
            match catch_unwind(AssertUnwindSafe(|| self.raw.poll(poll))) {
                Ok(Ok(_)) => {}
                Ok(Err(e)) => break format!("waiting for a frame: {e}"),
                Err(_) => break "the driver reported a lost device".to_owned(),
            }
            if let Some(reason) = self.lost() {
                break reason.to_owned();
            }
            // A renderer that polls at the same moment may be the one that calls our callback, a little later.
            match mapping.result.recv_timeout(Duration::from_millis(1)) {
                Ok(true) => return Ok(()),
                Ok(false) => break "a buffer could not be mapped".to_owned(),
                Err(_) if Instant::now() < deadline => poll = wgpu::PollType::Poll,
                Err(_) => break "a buffer was not mapped in time".to_owned(),
            }
        };
        self.lose(&reason);
        Err(RenderError::DeviceLost(reason))
    }
}

impl AdapterChoice {
    fn admits(&self, report: &AdapterReport) -> bool {
        match self {
            AdapterChoice::Auto => true,
            AdapterChoice::Named(name) => {
                let name = name.to_lowercase();
                report.name.to_lowercase().contains(&name) || report.driver.to_lowercase().contains(&name)
            }
        }
    }
}

fn scoped<T>(device: &wgpu::Device, work: impl FnOnce() -> T) -> Result<T, wgpu::Error> {
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let value = work();
    // Last pushed, first popped. Out of memory explains the others, so it is reported first.
    let errors = [validation.pop(), internal.pop(), memory.pop()].map(pollster::block_on);
    match errors.into_iter().rev().flatten().next() {
        Some(e) => Err(e),
        None => Ok(value),
    }
}

fn enumerate() -> Vec<(AdapterReport, wgpu::Adapter)> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let mut found: Vec<_> = adapters
        .into_iter()
        .filter(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS))
        .map(|a| (report(&a.get_info()), a))
        .collect();
    found.sort_by_key(|(r, _)| r.kind);
    found
}

fn report(info: &wgpu::AdapterInfo) -> AdapterReport {
    AdapterReport {
        name: info.name.clone(),
        backend: info.backend.to_string(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Other => AdapterKind::Other,
            wgpu::DeviceType::Cpu => AdapterKind::Cpu,
        },
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One device for the unit tests that do not break it.
    pub fn shared() -> Arc<Gpu> {
        static SHARED: OnceLock<Arc<Gpu>> = OnceLock::new();
        SHARED.get_or_init(|| Gpu::open(AdapterChoice::Auto).expect("an adapter")).clone()
    }

    fn adapter(name: &str, driver: &str) -> AdapterReport {
        AdapterReport { name: name.into(), backend: "vulkan".into(), kind: AdapterKind::Cpu, driver: driver.into() }
    }

    #[test]
    fn adapter_named_matches_part_of_name_or_driver_in_any_case() {
        let choice = AdapterChoice::Named("LLVM".into());
        assert!(choice.admits(&adapter("llvmpipe (LLVM 15)", "lavapipe")));
        assert!(choice.admits(&adapter("x", "Mesa llvmpipe")));
        assert!(!choice.admits(&adapter("NVIDIA H200", "NVIDIA 570")));
    }

    #[test]
    fn adapter_unknown_is_an_error_that_lists_what_is_there() {
        let Err(e) = Gpu::open(AdapterChoice::Named("no such adapter".into())) else { panic!("opened") };
        let text = e.to_string();
        assert!(text.contains("no such adapter"), "{text}");
        for a in adapters() {
            assert!(text.contains(&a.name), "{text}");
        }
    }

    #[test]
    fn device_lost_is_rebuilt_as_the_next_generation_while_nobody_waits() {
        let gpu = Gpu::open(AdapterChoice::Auto).expect("an adapter");
        let before = gpu.device().expect("alive");
        assert!(before.lost().is_none());
        gpu.simulate_loss();
        assert!(matches!(before.checked("work", || ()), Err(RenderError::DeviceLost(_))));
        assert!(matches!(gpu.device(), Err(RenderError::DeviceLost(_))), "whoever notices is not held up");
        assert_eq!(gpu.slot().rebuild.as_ref().and_then(|r| r.thread.thread().name()), Some("gpu rebuild"));
        let limit = Instant::now() + Duration::from_secs(60);
        let after = loop {
            match gpu.device() {
                Ok(device) => break device,
                Err(e) => assert!(Instant::now() < limit, "{e}"),
            }
            std::thread::yield_now();
        };
        assert_eq!(gpu.generation(), 1);
        assert!(after.lost().is_none());
    }

    #[test]
    fn gpu_dropped_during_a_rebuild_ends_its_thread() {
        let gpu = Gpu::open(AdapterChoice::Auto).expect("an adapter");
        gpu.simulate_loss();
        assert!(gpu.device().is_err());
        let slot = Arc::downgrade(&gpu.slot);
        drop(gpu);
        assert!(slot.upgrade().is_none(), "the thread is gone");
    }
}
