//! Client connections: accepted one by one, at most so many at once.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tracing::warn;

use crate::metrics::{Connections, OpenConnection};

/// Connections that the system holds before they are accepted.
const BACKLOG: u32 = 1_024;
/// A caller that has not sent a byte by then takes up room for nothing.
const FIRST_BYTE_TIME: Duration = Duration::from_secs(10);
/// After a failed accept (out of descriptors, mostly), so that the loop doesn't spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that has its address, but does not listen yet: callers are refused until the node
/// serves, instead of hanging.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Begins to listen.
pub(crate) fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)
}

/// Connections as they come in, for ever.
pub(crate) fn accept(
    listener: TcpListener,
    connections_max: usize,
    counted: Arc<Connections>,
) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(connections_max));
    futures::stream::unfold((listener, room, counted), |(listener, room, counted)| async move {
        let connection = next(&listener, &room, &counted).await;
        Some((Ok(connection), (listener, room, counted)))
    })
}

async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    counted: &Arc<Connections>,
) -> Connection {
    loop {
        let permit = room.clone().acquire_owned().await;
        match (permit, listener.accept().await) {
            (Ok(permit), Ok((stream, _))) => {
                if let Err(error) = stream.set_nodelay(true) {
                    warn!(%error, "a connection was lost as it came in");
                    continue;
                }
                let first_byte = Some(Box::pin(tokio::time::sleep(FIRST_BYTE_TIME)));
                let _open = counted.open();
                return Connection { stream, first_byte, _permit: permit, _open };
            }
            (_, Err(error)) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // Nobody closes the semaphore.
            (Err(_), _) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// A connection; dropping it makes room for another.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Runs until the first byte has come.
    first_byte: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
    _open: OpenConnection,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.first_byte = None;
        } else if let Some(time) = &mut self.first_byte
            && time.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn listening() -> (TcpListener, SocketAddr) {
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let listener = listen(socket).expect("it listens");
        let address = listener.local_addr().expect("its address");
        (listener, address)
    }

    #[tokio::test]
    async fn beyond_the_limit_a_connection_waits_for_another_to_close() {
        let (listener, address) = listening().await;
        let mut incoming = std::pin::pin!(accept(listener, 1, Arc::default()));
        let _first_caller = TcpStream::connect(address).await.expect("connected");
        let mut second_caller = TcpStream::connect(address).await.expect("in the backlog");
        let first = incoming.next().await.expect("endless").expect("accepted");
        assert!(futures::poll!(incoming.next()).is_pending(), "there is no room");
        drop(first);
        let mut second = incoming.next().await.expect("endless").expect("accepted");
        second_caller.write_all(b"x").await.expect("sent");
        assert_eq!(second.read_u8().await.expect("received"), b'x');
    }

    #[tokio::test]
    async fn a_caller_that_sends_nothing_is_cut_off_and_one_that_does_is_not() {
        let (listener, address) = listening().await;
        let mut incoming = std::pin::pin!(accept(listener, 2, Arc::default()));
        let mut talker = TcpStream::connect(address).await.expect("connected");
        let mut talks = incoming.next().await.expect("endless").expect("accepted");
        let _silent = TcpStream::connect(address).await.expect("connected");
        let mut silence = incoming.next().await.expect("endless").expect("accepted");
        talker.write_all(b"x").await.expect("sent");
        assert_eq!(talks.read_u8().await.expect("received"), b'x');

        tokio::time::pause();
        let cut = silence.read_u8().await.expect_err("nothing comes");
        assert_eq!(cut.kind(), io::ErrorKind::TimedOut);
        assert!(futures::poll!(std::pin::pin!(talks.read_u8())).is_pending());
    }
}
