//! Tests with real sockets: invalid input closes only its own connection, and limits are enforced.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::MIB;
use crate::request::{Request, answers, frame, info};

/// Starts a server on a free port for the duration of the tests.
pub fn listen(connections: usize, memory: usize) -> SocketAddr {
    listen_with(connections, memory, standin::IDLE)
}

fn listen_with(connections: usize, memory: usize, idle: Duration) -> SocketAddr {
    let settings = standin::Settings { memory, namespaces: vec!["test".into()], announce: None, idle };
    let listener = standin::Listener::bind(([127, 0, 0, 1], 0).into(), connections, &settings).unwrap();
    let address = listener.address().unwrap();
    std::thread::spawn(move || listener.run());
    address
}

/// Reads until the end of the connection.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut out = Vec::new();
    // A reset also counts as the end: the server closed before reading everything.
    let _ = stream.read_to_end(&mut out);
    out
}

fn exchange(mut stream: &TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).unwrap();
    let mut head = [0; 8];
    stream.read_exact(&mut head).unwrap();
    let length = usize::from(head[6]) << 8 | usize::from(head[7]);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    [&head[..], &body].concat()
}

#[test]
fn a_wrong_message_closes_its_connection_only() {
    let address = listen(100, 8 * MIB);
    let good = TcpStream::connect(address).unwrap();
    exchange(&good, &info("node\n"));
    let mut short = frame(3, &[0; 5]);
    short[1] = 3;
    let wrong: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[2, 3, 0, 0, 0xff, 0xff, 0xff, 0xff],
        &[2, 1, 0, 0, 0, 1, 0, 0],
        &[2, 9, 0, 0, 0, 0, 0, 1, 0],
        &short,
    ];
    for bytes in wrong {
        let bad = TcpStream::connect(address).unwrap();
        (&bad).write_all(bytes).unwrap();
        rest(&bad); // ends
        assert!(!exchange(&good, &info("node\n")).is_empty());
    }
    let malformed = TcpStream::connect(address).unwrap();
    (&malformed).write_all(&short).unwrap();
    assert_eq!(answers(&rest(&malformed))[0].code, 4, "told why, then closed");
}

#[test]
fn messages_that_would_not_fit_into_memory_are_not_read() {
    let address = listen(100, 8 * MIB);
    let stream = TcpStream::connect(address).unwrap();
    let large = vec![0; 9 * MIB];
    let _ = (&stream).write_all(&frame(3, &large)); // it closes before the end
    assert!(rest(&stream).is_empty());
    let other = TcpStream::connect(address).unwrap();
    assert_eq!(answers(&exchange(&other, &Request::get().message()))[0].code, 2);
}

#[test]
fn more_connections_than_agreed_are_closed_and_places_come_back() {
    let address = listen(2, 8 * MIB);
    let two: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
    for stream in &two {
        exchange(stream, &info("node\n"));
    }
    assert!(rest(&TcpStream::connect(address).unwrap()).is_empty());
    drop(two);
    // The server notices the closed connection asynchronously.
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut byte = [0];
        if stream.write_all(&info("node\n")).is_ok() && stream.read(&mut byte).is_ok_and(|read| read == 1) {
            break;
        }
    }
}

#[test]
fn compressed_messages_and_logins_are_refused_by_code() {
    let address = listen(2, 8 * MIB);
    let stream = TcpStream::connect(address).unwrap();
    assert_eq!(answers(&exchange(&stream, &frame(4, b"anything")))[0].code, 25);
    let login = exchange(&stream, &frame(2, &[0; 16]));
    assert_eq!((login[1], login[9]), (2, 51));
    let query = frame(3, &crate::request::body([1, 0, 0, 0], 0, 0, &[(0, b"test")], &[]));
    let answer = &answers(&exchange(&stream, &query))[0];
    assert_eq!((answer.last, answer.code), (true, 16));
}

/// Otherwise a client could block all others with unused connections.
#[test]
fn connections_that_are_not_used_are_closed() {
    let address = listen_with(2, 8 * MIB, Duration::from_millis(200));
    let idle: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
    // A connection in the middle of a message counts as idle as well.
    (&idle[1]).write_all(&info("node\n")[..5]).unwrap();
    for stream in &idle {
        assert!(rest(stream).is_empty(), "closed by the server");
    }
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut byte = [0];
        if stream.write_all(&info("node\n")).is_ok() && stream.read(&mut byte).is_ok_and(|read| read == 1) {
            break;
        }
    }
}
