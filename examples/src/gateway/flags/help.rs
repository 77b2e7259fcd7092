/// What `gateway --help` prints.
pub const HELP: &str = "\
gateway: every crate of tok behind flags

  --ws ADDR  --tcp ADDR  --unix PATH   listeners, all on one hub; --ws 127.0.0.1:9001 when none is given
  --engine NAME          tokio-tungstenite, async-tungstenite, tokio-websockets
  --frames KIND          WebSocket frames sent: auto, text, binary (auto)
  --echo                 every message goes back to its own connection; any path, the uid may be missing
  --runtime NAME         tokio, smol (tokio)
  --workers N            runtime worker threads (one a core)
  --sso WHICH            sessions that a login ends: user, device, off (user)
  --queue WHICH          where messages wait for users who are away: memory, none, redb:FILE, nats:URL,
                         redis:URL (memory; with --cluster the cluster's broker, and only that, another one that
                         all nodes share, or none)
  --write-back           durable queue: keep what is live and unconfirmed in memory only; a crash loses it
  --cluster URL          joins the nodes that use this broker: nats://HOST:PORT, redis://HOST:PORT (alone)
  --node NAME            this node's name in the cluster, of A-Z a-z 0-9 - _ (host name and process id)
  --token SECRET         every login must carry it
  --token-file FILE      the same, read from a file, of which one trailing newline is stripped
  --origin ORIGIN        allowed Origin, null and file:// too, may be given again (same host; with --tls-cert over
                         HTTPS)
  --host NAME            served Host, on any port, may be given again (any; localhost, 127.0.0.0/8 and [::1] if there
                         is no token and all listeners are on loopback)
  --subprotocol NAME     WebSocket subprotocol that is spoken, the best first, may be given again (none)
  --auth-timeout S       from accept to the end of the login; 0: no limit (5)
  --read-timeout S       closes a connection that sends nothing for so long; 0: off (0)
  --write-timeout S      closes a connection that takes nothing for so long; 0: no limit (60)
  --ping-interval S      keep-alive; 0: off (30)
  --drain-timeout S      how long SIGTERM and SIGINT may take (10)
  --max-message BYTES    largest incoming message (1048576)
  --max-connections N    logged-in sessions; 0: no limit (0)
  --max-per-user N       logged-in sessions of one user; 0: no limit (0)
  --max-backlog BYTES    outbound bytes that wait for one connection (1048576)
  --max-queued N         messages kept for one user, and 8 KiB for each of them, at least 8 MiB (1000)
  --tls-cert FILE  --tls-key FILE      PEM: serves --ws and --tcp over TLS
  --metrics ADDR         Prometheus text at /metrics; /healthz says whether to send clients here, /livez that it works
  --log LEVEL            events on stderr: error, warn, info, debug, trace (info)

SIGHUP reads certificate, key and token file again. A name that stands for several addresses is listened on at all.

A flag and its value may also be one argument: --tcp=127.0.0.1:9002.";
