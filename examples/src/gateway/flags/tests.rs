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
    assert!(unix.ws.is_empty() && unix.tcp.is_empty());
    match parse("") {
        // port: the documented default; nothing is bound
        Ok(flags) => assert_eq!(flags.ws, [SocketAddr::from(([127, 0, 0, 1], 9001))]),
        Err(error) => assert!(WsEngine::compiled().is_empty(), "{error}"),
    }
}

#[test]
fn values_come_behind_the_flag_or_an_equals_sign() {
    let flags = parse("--tcp=127.0.0.1:0 --auth-timeout 0.25 --read-timeout=1.5 --sso device").unwrap();
    assert_eq!(flags.tcp, [SocketAddr::from(([127, 0, 0, 1], 0))]);
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
        "--host http://chat.example",
        "--host=",
        "--token=",
        "--log loud",
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
    assert_eq!(parse("--echo serve").unwrap_err(), FlagError::Stray(2));
}

#[test]
fn what_does_not_go_together_is_refused() {
    for line in [
        "--tls-cert a",
        "--tls-key a",
        "--unix /tmp/x --tls-cert a --tls-key b",
        "--node a",
        "--token a --token-file b",
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

#[test]
fn no_error_repeats_a_value() {
    const SECRET: &str = "pa55-w0rd";
    let urls =
        ["redis://:pa55-w0rd@h", "nats://u:pa55-w0rd@h:1", "pa55-w0rd", "--pa55-w0rd", "\u{1}pa55-w0rd"];
    let names = FLAGS.map(|(flag, _)| flag);
    let misspelt =
        ["--clusterr", "--Token", "--tokken", "--token-", "-token", "--token:x", "token", "--", "-"];
    for url in urls {
        let spellings = names.iter().chain(&misspelt).flat_map(|flag| {
            [
                vec![format!("{flag}={url}")],
                vec![(*flag).to_owned(), url.to_owned()],
                vec![format!("{flag}{url}")],
            ]
        });
        let others = [vec![url.to_owned()], vec!["--queue".to_owned(), format!("valkey:{url}")]];
        for args in spellings.chain(others) {
            match Flags::parse(args.iter().map(OsString::from)) {
                Err(error) => {
                    let said = format!("{error} {error:?}");
                    assert!(!said.contains(SECRET) && !said.contains('\n'), "{args:?}: {said}");
                }
                // Names, paths and hosts are no secrets.
                Ok(command) => {
                    let holds_secrets = ["--queue", "--cluster", "--token="].iter();
                    let is_shown = format!("{command:?}").contains(SECRET);
                    let mut holding = holds_secrets.filter(|flag| args.concat().starts_with(**flag));
                    assert!(!is_shown || holding.next().is_none(), "{args:?}: {command:?}");
                }
            }
        }
    }
    for flag in ["--queue=redis:redis://:pa55-w0rd@h", "--cluster=nats://u:pa55-w0rd@h", "--token=pa55-w0rd"]
    {
        let parsed = Flags::parse(["--tcp=127.0.0.1:0", flag].map(OsString::from)); // port: chosen by the system
        assert!(!format!("{parsed:?}").contains(SECRET), "{parsed:?}");
    }
    assert_eq!(parse("--clusterr=x").unwrap_err(), FlagError::Unknown("--clusterr".to_owned()));
}

#[test]
fn a_token_can_be_any_bytes() {
    use std::os::unix::ffi::OsStringExt;

    let parse = |args: &[&[u8]]| match Flags::parse(args.iter().map(|arg| OsString::from_vec(arg.to_vec()))) {
        Ok(Command::Serve(flags)) => flags.token.unwrap().load().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(parse(&[b"--token", b"a\xff"]), parse(&[b"--token=a\xff"]));
    assert_ne!(parse(&[b"--token", b"a\xff"]), parse(&[b"--token=a\xfe"]));
    let arg = OsString::from_vec(b"--sso=\xff".to_vec());
    assert!(matches!(Flags::parse([arg]), Err(FlagError::Invalid { flag: "--sso", .. })));
}

#[test]
fn a_name_stands_for_all_its_addresses() {
    let flags = parse("--ws localhost:0 --metrics [::1]:0").unwrap();
    assert!(!flags.ws.is_empty() && flags.ws.iter().all(|addr| addr.ip().is_loopback()), "{:?}", flags.ws);
    assert_eq!(flags.metrics.len(), 1);
}

#[test]
fn brokers_over_tls_are_brokers() {
    for (url, feature) in [("tls://a:1", cfg!(feature = "nats")), ("rediss://a:1", cfg!(feature = "redis"))] {
        let parsed = parse(&format!("--tcp 127.0.0.1:0 --cluster {url}"));
        assert_eq!(parsed.is_ok(), feature, "{url}: {parsed:?}");
    }
}
