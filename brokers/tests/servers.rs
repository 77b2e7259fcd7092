//! The servers start, end and come back; the proxy does what it is told.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use brokers::{Direction, Kind, NatsServer, Proxy, RedisServer, Server};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One command to Redis; answers here are one line.
fn ask(stream: &mut TcpStream, command: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    read_line(stream)
}

fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10)); // sleep: between two looks
    }
}

/// Nothing comes for a moment.
fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let result = stream.read(&mut [0]);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    matches!(result, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn comes_back<K: Kind>(mut server: Server<K>) {
    let (addr, url) = (server.addr(), server.url());
    assert!(url.ends_with(&addr.to_string()), "{url}");
    for end in [Server::kill, Server::stop] {
        end(&mut server).unwrap();
        assert!(TcpStream::connect(addr).is_err(), "it has ended");
        assert!(server.suspend().is_err());
        server.restart().unwrap();
        assert_eq!((server.addr(), server.url()), (addr, url.clone()));
        drop(connect(addr));
    }
    server.restart().unwrap();
    server.suspend().unwrap();
    server.kill().unwrap();
    let data = server.data_dir();
    drop(server);
    assert!(!data.exists());
}

#[test]
fn nats_comes_back_on_its_port() {
    comes_back(NatsServer::start().unwrap());
    comes_back(NatsServer::synced().unwrap());
}

#[test]
fn redis_comes_back_on_its_port() {
    comes_back(RedisServer::start().unwrap());
}

#[test]
fn synced_redis_keeps_what_it_acknowledged_until_it_is_wiped() {
    let mut server = RedisServer::synced().unwrap();
    assert_eq!(ask(&mut connect(server.addr()), "SET key value"), "+OK");
    server.restart().unwrap();
    assert_eq!(ask(&mut connect(server.addr()), "EXISTS key"), ":1");
    server.wipe().unwrap();
    server.restart().unwrap();
    assert_eq!(ask(&mut connect(server.addr()), "EXISTS key"), ":0");
}

#[test]
fn a_suspended_server_is_silent_until_it_resumes() {
    let server = RedisServer::start().unwrap();
    let mut stream = connect(server.addr());
    assert_eq!(ask(&mut stream, "PING"), "+PONG");
    server.suspend().unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    assert!(is_silent(&mut stream));
    server.resume().unwrap();
    assert_eq!(read_line(&mut stream), "+PONG");
}

#[test]
fn a_wrong_setting_is_an_error_with_what_the_server_said() {
    let error = format!("{:#}", RedisServer::with_config("no-such-setting yes\n").unwrap_err());
    assert!(error.contains("no-such-setting"), "{error}");
    assert!(NatsServer::with_config("no_such_setting {").is_err());
}

#[test]
fn a_proxy_holds_cuts_heals_loses_and_redirects() {
    let server = RedisServer::start().unwrap();
    let proxy = Proxy::start(server.addr()).unwrap();
    let mut stream = connect(proxy.addr());
    assert_eq!(ask(&mut stream, "PING"), "+PONG");

    for (direction, heard) in [(Direction::ToServer, false), (Direction::ToClient, true)] {
        proxy.hold(direction);
        let mut held = connect(proxy.addr());
        held.write_all(format!("SET {heard} 1\r\n").as_bytes()).unwrap();
        if heard {
            wait_until("the server hears the client", || {
                ask(&mut connect(server.addr()), "EXISTS true") == ":1"
            });
        }
        assert!(is_silent(&mut held));
        if !heard {
            assert_eq!(ask(&mut connect(server.addr()), "EXISTS false"), ":0");
        }
        proxy.heal();
        assert_eq!(read_line(&mut held), "+OK");
    }

    proxy.cut();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "a connection that is cut ends");
    let mut refused = connect(proxy.addr());
    assert_eq!(refused.read(&mut [0]).unwrap_or(0), 0, "a new connection ends at once");
    proxy.heal();
    let mut lost = connect(proxy.addr());
    assert_eq!(ask(&mut lost, "PING"), "+PONG");
    proxy.lose();
    lost.write_all(b"PING\r\n").unwrap();
    proxy.heal();
    proxy.delay(Duration::from_millis(1));
    assert_eq!(ask(&mut connect(proxy.addr()), "PING"), "+PONG");
    assert!(is_silent(&mut lost));

    let other = RedisServer::start().unwrap();
    assert_eq!(ask(&mut connect(other.addr()), "SET other 1"), "+OK");
    let mut before = connect(proxy.addr());
    assert_eq!(ask(&mut before, "EXISTS other"), ":0");
    proxy.redirect(other.addr());
    assert_eq!(ask(&mut connect(proxy.addr()), "EXISTS other"), ":1");
    assert_eq!(ask(&mut before, "EXISTS other"), ":0");
}

#[test]
fn servers_end_with_the_process_that_was_killed() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_brokers"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let urls: Vec<_> = line.split_whitespace().skip(1).collect();
    let addrs: Vec<SocketAddr> =
        urls.iter().map(|url| url.split_once("://").unwrap().1.parse().unwrap()).collect();
    assert_eq!(addrs.len(), 2, "{line}");
    for addr in &addrs {
        drop(connect(*addr));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for addr in addrs {
        wait_until("the server ends", || TcpStream::connect(addr).is_err());
    }
}
