//! A connection that is closed kindly: a client that is still sending what was refused gets to read the answer.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long what still comes is thrown away.
const LINGER: Duration = Duration::from_secs(2);

/// Closing a socket with unread input resets it, and the reset can overtake the answer. So the sending side is closed
/// first, then input is thrown away until the client is done or the time is up.
pub(super) struct Linger<T> {
    inner: T,
    sent: bool,
    until: Option<Pin<Box<Sleep>>>,
}

impl<T> Linger<T> {
    pub(super) const fn new(inner: T) -> Self {
        Self { inner, sent: false, until: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Linger<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.sent {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            this.sent = true;
        }
        let until = this.until.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut scratch = [0; 8192];
        loop {
            if until.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn what_still_comes_is_thrown_away_until_the_client_is_done() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Linger::new(server);
        let closing = async {
            server.write_all(b"no").await.unwrap();
            server.shutdown().await.unwrap();
        };
        let sending = async {
            client.write_all(&[0; 10_000]).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        assert_eq!(tokio::join!(closing, sending).1, "no");
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_wait_for_ever() {
        let (client, server) = tokio::io::duplex(64);
        let begun = tokio::time::Instant::now();
        Linger::new(server).shutdown().await.unwrap();
        assert_eq!(begun.elapsed(), LINGER);
        drop(client);
    }
}
