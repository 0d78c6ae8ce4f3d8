//! What is waited for beside something that is polled often, and seldom comes: it is polled when it was woken itself, and not each
//! time the other was. Each time that comes to nothing whoever polls is woken once more, so it is for what seldom happens.

use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

/// See the module.
#[derive(Debug)]
pub(crate) struct Aside<F>(FuturesUnordered<F>);

impl<F: Future> Aside<F> {
    pub(crate) fn new(future: F) -> Aside<F> {
        Aside(FuturesUnordered::from_iter([future]))
    }

    /// What came of it, once; nothing comes after that.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.0.poll_next_unpin(cx) {
            Poll::Ready(Some(came)) => Poll::Ready(came),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_when_it_is_woken_and_not_before() {
        let (tell, told) = oneshot::channel();
        let polled = Cell::new(0);
        let mut told = std::pin::pin!(told);
        let mut aside = Aside::new(poll_fn(|cx| {
            polled.set(polled.get() + 1);
            told.as_mut().poll(cx)
        }));
        for _ in 0..3 {
            assert!(poll_fn(|cx| Poll::Ready(aside.poll(cx))).await.is_pending());
        }
        assert_eq!(polled.get(), 1);
        tell.send(7).unwrap();
        assert_eq!(poll_fn(|cx| aside.poll(cx)).await, Ok(7));
        assert_eq!(polled.get(), 2);
        assert!(poll_fn(|cx| Poll::Ready(aside.poll(cx))).await.is_pending());
    }
}
