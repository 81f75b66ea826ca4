//! The server on real sockets.

use super::*;

/// A server on loopback and a socket; ends with the token.
async fn server() -> (
    std::net::SocketAddr,
    std::path::PathBuf,
    tempfile::TempDir,
    CancellationToken,
    tokio::task::JoinHandle<std::io::Result<()>>,
) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("wharf.sock");
    let listeners = Listeners::open(Some(&socket), Some("127.0.0.1:0".parse().unwrap()), false).unwrap();
    let address = listeners.tcp_addresses()[0];
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listeners, app(), Limits::default(), stop.clone()));
    (address, socket, dir, stop, task)
}

#[tokio::test]
async fn a_client_that_sends_100_mb_reads_why_not() {
    let (address, _, _dir, stop, task) = server().await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let bearer = bearer();
    let head = format!(
        "POST /v1/workspaces HTTP/1.1\r\nHost: localhost\r\nAuthorization: {bearer}\r\nContent-Length: 104857600\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..100 {
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    assert!(response.contains("body_too_large"));
    stop.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_socket_needs_no_token_and_tcp_does() {
    let (address, socket, _dir, stop, task) = server().await;
    let ask = "GET /v1/agents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut unix = tokio::net::UnixStream::connect(&socket).await.unwrap();
    unix.write_all(ask.as_bytes()).await.unwrap();
    let mut response = String::new();
    unix.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    tcp.write_all(ask.as_bytes()).await.unwrap();
    response.clear();
    tcp.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 401"), "{response}");
    stop.cancel();
    task.await.unwrap().unwrap();
    assert!(!socket.exists(), "the socket file goes with the server");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_stop_up() {
    let (address, _, _dir, stop, task) = server().await;
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stop.cancel();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    drop(idle);
    task.await.unwrap().unwrap();
}
