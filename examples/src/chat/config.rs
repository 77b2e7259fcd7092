/// Where the chat listens, as `HOST:PORT`. Port 0 lets the operating system choose.
///
/// ```
/// use examples::chat::Config;
///
/// let config = Config::parse(["--ws", "127.0.0.1:0"])?;
/// assert_eq!((config.web.as_str(), config.tcp.as_str()), ("127.0.0.1:0", "127.0.0.1:8081"));
/// assert!(Config::parse(["--wss", "127.0.0.1:0"]).is_err());
/// # Ok::<_, examples::chat::InvalidConfig>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Config {
    /// The web page and the WebSocket: `--ws`, by default 127.0.0.1:8080.
    pub web: String,
    /// Frames over TCP: `--tcp`, by default 127.0.0.1:8081.
    pub tcp: String,
}

impl Config {
    /// How the program is called.
    pub const USAGE: &str = "usage: chat [--ws HOST:PORT] [--tcp HOST:PORT]";

    /// Reads command line arguments, without the program's name.
    ///
    /// # Errors
    /// An argument that is not known, or a flag without its value.
    pub fn parse<I: IntoIterator<Item: Into<String>>>(args: I) -> Result<Self, InvalidConfig> {
        let mut config = Self::default();
        let mut args = args.into_iter().map(Into::into);
        while let Some(flag) = args.next() {
            let address = match flag.as_str() {
                "--ws" => &mut config.web,
                "--tcp" => &mut config.tcp,
                _ => return Err(InvalidConfig::Unknown(flag)),
            };
            *address = args.next().ok_or(InvalidConfig::NoValue(flag))?;
        }
        Ok(config)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { web: "127.0.0.1:8080".into(), tcp: "127.0.0.1:8081".into() }
    }
}

/// [`Config::parse`] did not understand the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// No such flag.
    Unknown(String),
    /// The flag is the last argument.
    NoValue(String),
}

impl std::fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(flag) => write!(f, "{flag:?} is not known; --help says what is"),
            Self::NoValue(flag) => write!(f, "{flag} needs a value; --help says which"),
        }
    }
}

impl std::error::Error for InvalidConfig {}
