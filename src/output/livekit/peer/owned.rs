//! Who ends a peer connection's task, and says so when it ended badly.

use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// For the goodbye of a peer connection that is dropped: DTLS close_notify, TURN addresses given back.
const FAREWELL: Duration = Duration::from_secs(1);

/// A task that does not outlive its owner by more than a goodbye.
#[derive(Debug)]
pub(super) struct Owned {
    name: String,
    task: Option<JoinHandle<()>>,
    /// Its owner is gone already: next time it is aborted.
    orphan: bool,
}

impl Owned {
    pub fn new(name: String, task: JoinHandle<()>) -> Self {
        Self { name, task: Some(task), orphan: false }
    }

    /// Waits for the task's end, aborts it after `limit`. A panic in it goes to the log.
    pub async fn join(mut self, limit: Duration) {
        let Some(task) = &mut self.task else { return };
        match tokio::time::timeout(limit, &mut *task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(peer = %self.name, "the peer connection failed: {error}"),
            Err(_) => {
                task.abort();
                tracing::warn!(peer = %self.name, ?limit, "the peer connection took too long to close: cut off");
            }
        }
        self.task = None;
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else { return };
        match Handle::try_current() {
            // A runtime that shuts down drops what it is given, and that comes here again.
            Ok(runtime) if !self.orphan => {
                let orphan = Self { name: std::mem::take(&mut self.name), task: Some(task), orphan: true };
                runtime.spawn(orphan.join(FAREWELL));
            }
            _ => task.abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tokio::sync::oneshot;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(data)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn panic_is_logged_with_the_destination_it_belongs_to() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _log = tracing::subscriber::set_default(subscriber);
        let task = tokio::spawn(async { panic!("on purpose") });
        Owned::new("final".into(), task).join(Duration::from_secs(20)).await;
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("ERROR") && text.contains("peer=final") && text.contains("on purpose"), "{text}");
    }

    #[test]
    fn owner_that_goes_down_with_its_runtime_takes_the_task_along() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let owned = runtime.block_on(async { Owned::new("final".into(), tokio::spawn(std::future::pending())) });
        runtime.spawn(async move {
            let _owned = owned;
            std::future::pending::<()>().await;
        });
        drop(runtime);
    }

    #[tokio::test]
    async fn task_that_does_not_end_is_aborted_whether_joined_or_dropped() {
        for joined in [true, false] {
            let (held, ended) = oneshot::channel::<()>();
            let task = tokio::spawn(async {
                let _held = held;
                std::future::pending().await
            });
            let owned = Owned::new("final".into(), task);
            match joined {
                true => owned.join(Duration::from_millis(50)).await,
                false => drop(owned),
            }
            assert!(tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap().is_err());
        }
    }
}
