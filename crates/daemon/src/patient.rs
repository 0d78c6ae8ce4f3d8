//! A connection whose other side may take its time, and not all of it: whoever takes nothing of what they are sent for
//! `limits::READER_TAKES_WITHIN` is let go, and with them whatever waits to be sent. Who follows something comes back with how far
//! they have read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use eparch_domain::limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// See the module.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// While nothing is taken.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S) -> Patient<S> {
        Patient { stream, patience: limits::READER_TAKES_WITHIN.as_duration(), waits: None }
    }

    /// What came of an attempt to send; each that comes to something begins the time anew.
    fn look<T>(&mut self, sent: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            self.waits = None;
            return sent;
        }
        let patience = self.patience;
        ready!(self.waits.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.look(sent, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.look(sent, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_flush(cx);
        self.look(sent, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A listener whose connections are.
#[derive(Debug)]
pub(crate) struct AtPatience<L>(pub(crate) L);

impl<L: Listener> Listener for AtPatience<L> {
    type Io = Patient<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, from) = self.0.accept().await;
        (Patient::new(stream), from)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;

    const USUAL: Duration = limits::READER_TAKES_WITHIN.as_duration();

    /// By a clock that nothing but waiting moves.
    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_is_let_go_and_whoever_takes_little_is_not() {
        let (own, _theirs) = duplex(16);
        let begun = Instant::now();
        let refused = Patient::new(own).write_all(&[7; 64]).await.unwrap_err();
        assert_eq!((refused.kind(), begun.elapsed() >= USUAL), (io::ErrorKind::TimedOut, true));

        let (own, mut theirs) = duplex(16);
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            while all.len() < 64 {
                sleep(USUAL / 2).await;
                all.push(theirs.read_u8().await.unwrap());
            }
            all
        });
        let begun = Instant::now();
        Patient::new(own).write_all(&[7; 64]).await.unwrap();
        assert_eq!(reader.await.unwrap(), [7; 64]);
        assert!(begun.elapsed() > USUAL * 10);
    }
}
