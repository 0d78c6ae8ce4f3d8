//! Ctrl-C: the first asks the run to end, the second leaves at once, whatever is being waited for.

use std::sync::{Arc, OnceLock};

use eparch_domain::RunId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::failure::{Failure, exit};
use crate::output::errln;

/// Listens for Ctrl-C from before a run is asked for until it is over: one that comes while the request is under way stops
/// the run that comes of it.
#[derive(Debug)]
pub(crate) struct Interrupts {
    first: Arc<Notify>,
    run: Arc<OnceLock<RunId>>,
}

impl Interrupts {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Interrupts, Failure> {
        let mut signals = signal(SignalKind::interrupt())
            .map_err(|problem| Failure::new("EP0711", format!("cannot listen for Ctrl-C: {problem}")))?;
        let (first, run) = (Arc::new(Notify::new()), Arc::new(OnceLock::<RunId>::new()));
        let (told, about) = (first.clone(), run.clone());
        tokio::spawn(async move {
            signals.recv().await;
            told.notify_one();
            signals.recv().await;
            match about.get() {
                Some(run) => errln!("\nLeft. The run may still be ending: eparch runs show {run}"),
                None => errln!("\nLeft. Whether a run was started: eparch runs list"),
            }
            std::process::exit(exit::INTERRUPTED.into());
        });
        Ok(Interrupts { first, run })
    }

    /// Names the run that a Ctrl-C is about.
    pub(crate) fn are_about(&self, run: RunId) {
        let _ = self.run.set(run);
    }

    /// Whether the first has come, for whoever does not wait for it.
    pub(crate) async fn has_come(&self) -> bool {
        // One that came before the answer to a request is heard before it is looked for.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = self.first() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// Returns once, at the first Ctrl-C, also when it came before.
    pub(crate) async fn first(&self) {
        self.first.notified().await;
    }
}
