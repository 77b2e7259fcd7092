use super::*;

fn parse(line: &str) -> Result<Flags, FlagError> {
    match Flags::parse(line.split_whitespace().map(OsString::from))? {
        Command::Serve(flags) => Ok(*flags),
        Command::Help => panic!("help for {line:?}"),
    }
}

#[test]
fn without_a_listener_there_is_a_websocket_one() {
    let unix = parse("--unix gateway.sock").unwrap();
    assert_eq!((unix.ws, unix.tcp), (None, None));
    match parse("") {
        // port: the documented default; nothing is bound
        Ok(flags) => assert_eq!(flags.ws, Some(SocketAddr::from(([127, 0, 0, 1], 9001)))),
        Err(error) => assert!(WsEngine::compiled().is_empty(), "{error}"),
    }
}

#[test]
fn values_come_behind_the_flag_or_an_equals_sign() {
    let flags = parse("--tcp=127.0.0.1:0 --auth-timeout 0.25 --read-timeout=1.5 --sso device").unwrap();
    assert_eq!(flags.tcp, Some(SocketAddr::from(([127, 0, 0, 1], 0))));
    assert_eq!(flags.auth_timeout, Duration::from_millis(250));
    assert_eq!(flags.read_timeout, Duration::from_millis(1500));
    assert!(matches!(flags.sso, Sso::PerDevice));
}

#[test]
fn what_cannot_be_served_is_named() {
    for flag in [
        #[cfg(not(feature = "nats"))]
        "--cluster nats://a:1",
        #[cfg(not(feature = "redis"))]
        "--cluster redis://a:1",
        #[cfg(all(feature = "smol", feature = "nats"))]
        "--runtime smol --engine async-tungstenite --cluster nats://a:1",
        #[cfg(not(feature = "redb"))]
        "--queue redb:/tmp/q",
        #[cfg(not(feature = "nats"))]
        "--queue nats:nats://a:1",
        #[cfg(not(feature = "redis"))]
        "--queue redis:redis://a:1",
        "--runtime smol --engine async-tungstenite --queue nats:nats://a:1",
        "--runtime smol --engine async-tungstenite --queue redis:redis://a:1",
    ] {
        let error = parse(&format!("--unix /tmp/x {flag}")).unwrap_err();
        assert!(matches!(error, FlagError::Unserved(_)), "{flag}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn wrong_values_are_refused() {
    for line in [
        "--ws nowhere",
        "--tcp 127.0.0.1",
        "--engine gorilla",
        "--frames json",
        "--runtime async-std",
        "--workers 0",
        "--workers -1",
        "--sso all",
        "--queue disk",
        "--queue mysql:x",
        "--queue redb:",
        "--queue nats:",
        "--queue redis:",
        "--cluster mqtt://a:1",
        "--cluster a:1",
        "--node a.b --cluster nats://a:1",
        "--metrics 9100",
        "--origin chat.example",
        "--auth-timeout -1",
        "--auth-timeout NaN",
        "--ping-interval inf",
        "--read-timeout 5s",
        "--max-message 0",
        "--max-message 1e6",
        "--max-connections -1",
        "--max-queued 0",
    ] {
        assert!(matches!(parse(line), Err(FlagError::Invalid { .. })), "{line}");
    }
    assert_eq!(parse("--workers").unwrap_err(), FlagError::Missing("--workers"));
    assert_eq!(parse("--echo=yes").unwrap_err(), FlagError::Surplus("--echo"));
    assert_eq!(parse("--frobnicate").unwrap_err(), FlagError::Unknown("--frobnicate".to_owned()));
    assert_eq!(parse("serve").unwrap_err(), FlagError::Unknown("serve".to_owned()));
}

#[test]
fn what_does_not_go_together_is_refused() {
    for line in [
        "--tls-cert a",
        "--tls-key a",
        "--unix /tmp/x --tls-cert a --tls-key b",
        "--node a",
        #[cfg(feature = "nats")]
        "--cluster nats://a:1 --queue memory",
        #[cfg(all(feature = "nats", feature = "redb"))]
        "--cluster nats://a:1 --queue redb:/tmp/q",
    ] {
        assert!(matches!(parse(line), Err(FlagError::Conflict(_))), "{line}");
    }
}

#[cfg(feature = "nats")]
#[test]
fn a_cluster_keeps_messages_on_its_broker_unless_told_otherwise() {
    let queue = |line: &str| parse(&format!("--tcp 127.0.0.1:0 --cluster nats://a:1 {line}")).unwrap().queue;
    assert_eq!(queue(""), QueueName::Nats("nats://a:1".to_owned()));
    assert_eq!(queue("--queue none"), QueueName::None);
    assert_eq!(queue("--queue nats:nats://b:1"), QueueName::Nats("nats://b:1".to_owned()));
}

#[test]
fn write_back_is_for_durable_queues() {
    for line in ["--write-back", "--write-back --queue none", "--queue memory --write-back"] {
        assert!(matches!(parse(line), Err(FlagError::Conflict(_))), "{line}");
    }
}

#[test]
fn help_names_every_flag_that_can_be_served() {
    assert!(matches!(Flags::parse(["--help".into()]), Ok(Command::Help)));
    for (flag, takes_value) in FLAGS {
        let value = if takes_value { " 1" } else { "" };
        let unserved = matches!(parse_any(&format!("{flag}{value}")), Err(FlagError::Unserved(_)));
        let listed = HELP.contains(&format!("{flag} "));
        assert!(unserved || listed || flag.starts_with("-h") || flag == "--help", "{flag}");
    }
}

fn parse_any(line: &str) -> Result<Command, FlagError> {
    Flags::parse(line.split_whitespace().map(OsString::from))
}
