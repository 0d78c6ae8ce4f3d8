//! The way in: what is handed to the driver, and what is answered.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use eparch_governor::Governor;

use super::commits::Landed;
use super::inbox::{Lane, Outbox};
use super::letterbox::Letterbox;
use super::{Done, Input};

/// Why an input came to nothing, as far as is known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// The ledger could not be written, so nothing happened (G1).
    #[error("the ledger cannot be written, so nothing was done: {0}")]
    Ledger(String),
    /// The ledger did not say in time whether it wrote it, and cannot be asked yet.
    #[error("whether this was written into the ledger is open: {0}")]
    Unknown(String),
    /// What was handed in could not have been written into the ledger or read back from it; nothing of it happened.
    #[error("it cannot be written down: {0}")]
    Unreadable(String),
    /// The driver has ended.
    #[error("the holder is shutting down")]
    Gone,
}

pub(super) type Reply = Box<dyn FnOnce(Result<Done, SubmitError>) + Send>;
/// Given the reason when the tenant is stopped and could not be rebuilt.
pub(super) type Look = Box<dyn FnOnce(Result<&Governor, SubmitError>) + Send>;

pub(super) enum Message {
    Decide(Box<Input>, Reply),
    /// A look, and whether a stopped tenant is tried again for it.
    Look(Look, Retry),
    Stop,
}

impl Message {
    /// What takes authority away does not wait behind those who have it; nor does a glance, which takes no time, and with which
    /// it is found out who asks for it.
    pub(super) fn lane(&self) -> Lane {
        match self {
            Message::Decide(input, _) if input.event.takes_authority_away() => Lane::First,
            Message::Look(_, Retry::InTime) => Lane::First,
            Message::Decide(..) | Message::Look(_, Retry::Now) | Message::Stop => Lane::InTurn,
        }
    }
}

/// Whether a stopped tenant is tried again for a look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// Somebody waits for it.
    Now,
    /// Nobody does: when its time has come.
    InTime,
}

/// A way to hand things to the driver; cheap to copy.
#[derive(Clone)]
pub struct Handle {
    pub(super) to: Outbox<Message, Landed>,
    /// Where answers to [`Handle::ask`] are put, if not into the hands of whoever waits.
    pub(super) letterbox: Option<Arc<Letterbox>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("driver::Handle")
    }
}

impl Handle {
    /// The same, for those who wait on the thread on which this letterbox is emptied.
    pub(crate) fn answering_into(&self, letterbox: &Arc<Letterbox>) -> Handle {
        Handle { to: self.to.clone(), letterbox: Some(letterbox.clone()) }
    }

    /// Hands in something to decide on; `reply` is called once it is durable, or has come to nothing. Waits when
    /// `limits::DRIVER_QUEUE` are waiting already.
    pub fn submit(&self, input: Input, reply: impl FnOnce(Result<Done, SubmitError>) + Send + 'static) {
        let message = Message::Decide(Box::new(input), Box::new(reply));
        if let Err(Message::Decide(_, reply)) = self.to.send(message.lane(), message) {
            reply(Err(SubmitError::Gone));
        }
    }

    /// [`Handle::submit`], waiting for the answer; not for async code.
    pub fn decide(&self, input: Input) -> Result<Done, SubmitError> {
        let (to, from) = sync_channel(1);
        self.submit(input, move |result| {
            // Whoever waits cannot have gone: they wait below.
            let _ = to.send(result);
        });
        from.recv().unwrap_or(Err(SubmitError::Gone))
    }

    /// [`Handle::submit`] for async code.
    pub async fn ask(&self, input: Input) -> Result<Done, SubmitError> {
        let (to, from) = tokio::sync::oneshot::channel();
        let reply: Reply = match self.letterbox.clone() {
            Some(letterbox) => Box::new(move |result| letterbox.post(to, result)),
            None => Box::new(move |result| {
                // Whoever does not wait any more has no use for it.
                let _ = to.send(result);
            }),
        };
        self.send(Message::Decide(Box::new(input), reply)).await?;
        from.await.unwrap_or(Err(SubmitError::Gone))
    }

    async fn send(&self, message: Message) -> Result<(), SubmitError> {
        let lane = message.lane();
        self.to.send_async(lane, message).await.map_err(|_| SubmitError::Gone)
    }

    /// Looks at the governor between two turns.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Governor) -> T + Send + 'static,
    ) -> Result<T, SubmitError> {
        self.look_and(Retry::Now, look).await
    }

    /// [`Handle::look`] for whoever asks again and again, and looks at one thing only: it goes before what waits, and a stopped
    /// tenant is not tried again for it.
    pub async fn glance<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Governor) -> T + Send + 'static,
    ) -> Result<T, SubmitError> {
        self.look_and(Retry::InTime, look).await
    }

    async fn look_and<T: Send + 'static>(
        &self,
        retry: Retry,
        look: impl FnOnce(&Governor) -> T + Send + 'static,
    ) -> Result<T, SubmitError> {
        let (to, from) = tokio::sync::oneshot::channel();
        let look: Look = Box::new(move |governor| {
            let _ = to.send(governor.map(look));
        });
        self.send(Message::Look(look, retry)).await?;
        from.await.map_err(|_| SubmitError::Gone)?
    }

    /// Ends the driver once everything handed in before is decided.
    pub fn stop(&self) {
        let _ = self.to.send(Message::Stop.lane(), Message::Stop);
    }
}
