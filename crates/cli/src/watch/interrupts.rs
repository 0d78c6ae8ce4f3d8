//! Ctrl-C: the first asks the run to end, the second leaves, whatever is being waited for. What it does not leave before is that the
//! run was asked: otherwise it would go on, and whoever pressed twice would think that it does not.

use std::sync::{Arc, OnceLock};

use eparch_domain::{RunId, limits};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::failure::{Failure, exit};
use crate::output::errln;

/// Listens for Ctrl-C from before a run is asked for until it is over: one that comes while the request is under way stops
/// the run that comes of it.
#[derive(Debug)]
pub(crate) struct Interrupts {
    first: Arc<Notify>,
    run: Arc<OnceLock<RunId>>,
    /// Whether the run has been asked to end.
    asked: watch::Sender<bool>,
}

impl Interrupts {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Interrupts, Failure> {
        let mut signals = signal(SignalKind::interrupt())
            .map_err(|problem| Failure::new("EP0711", format!("cannot listen for Ctrl-C: {problem}")))?;
        let (first, run) = (Arc::new(Notify::new()), Arc::new(OnceLock::<RunId>::new()));
        let (told, about) = (first.clone(), run.clone());
        let (asked, mut is_asked) = watch::channel(false);
        tokio::spawn(async move {
            signals.recv().await;
            if about.get().is_none() {
                errln!("\nWhat is being started is stopped as soon as it is known; Ctrl-C again leaves.");
            }
            told.notify_one();
            signals.recv().await;
            if !*is_asked.borrow() {
                let within = limits::STOP_IS_ASKED_WITHIN;
                errln!(
                    "\nThe run has not been asked to stop yet. Leaving when it has been, after {within} at most; Ctrl-C again leaves at once."
                );
                tokio::select! {
                    _ = is_asked.wait_for(|asked| *asked) => {}
                    _ = signals.recv() => {}
                    () = tokio::time::sleep(within.as_duration()) => {}
                }
            }
            match (about.get(), *is_asked.borrow()) {
                (Some(run), true) => errln!("\nLeft. The run may still be ending: eparch runs show {run}"),
                (Some(run), false) => {
                    errln!(
                        "\nLeft, and the run may go on. It is stopped by: eparch runs stop {run} --reason TEXT"
                    );
                }
                (None, _) => errln!("\nLeft. Whether a run was started: eparch runs list"),
            }
            std::process::exit(exit::INTERRUPTED.into());
        });
        Ok(Interrupts { first, run, asked })
    }

    /// The run was asked to end, or has ended: nobody has to be waited for any more.
    pub(super) fn have_stopped_it(&self) {
        self.asked.send_replace(true);
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
