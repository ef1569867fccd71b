//! Threads for work that blocks: applying, checkpoints, bases. Nothing that touches a disk for long
//! may run on the runtime that sends heartbeats.

use std::io;

use tokio::sync::oneshot;

/// Runs `work` on a thread of its own and waits for it without blocking.
///
/// # Errors
/// If the thread can't be started, or the work panicked.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // The one who asked may have gone, at shutdown.
        let _ = sender.send(work());
    })?;
    receiver.await.map_err(|_| io::Error::other("the worker thread panicked"))
}

/// Starts a thread that lives as long as its work wants.
///
/// # Errors
/// If the thread can't be started.
pub(crate) fn start(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}
