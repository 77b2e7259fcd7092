use std::{fmt, str::FromStr, sync::Arc};

use super::Engine;

/// The engines that this crate knows, each behind the feature of the same name.
///
/// The variants are the same under every feature set; [`engine`](Self::engine) is an error for one that is not
/// compiled in.
///
/// ```
/// use tok_ws::WsEngine;
///
/// let engine: WsEngine = "tokio-websockets".parse()?;
/// assert_eq!(engine.to_string(), "tokio-websockets");
/// match engine.engine() {
///     Ok(engine) => assert_eq!(engine.name(), "tokio-websockets"),
///     Err(error) => println!("{error}"),
/// }
/// # Ok::<_, tok_ws::UnknownEngine>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WsEngine {
    /// tungstenite by way of tokio-tungstenite: the most widely used.
    TokioTungstenite,
    /// tungstenite by way of async-tungstenite: brings no tokio.
    AsyncTungstenite,
    /// tokio-websockets: strict, unmasks and validates with SIMD.
    TokioWebsockets,
}

impl WsEngine {
    const ALL: [Self; 3] = [Self::TokioTungstenite, Self::AsyncTungstenite, Self::TokioWebsockets];

    /// The engines compiled in, in the order in which the default is chosen.
    #[must_use]
    pub fn compiled() -> &'static [Self] {
        &[
            #[cfg(feature = "tokio-tungstenite")]
            Self::TokioTungstenite,
            #[cfg(feature = "async-tungstenite")]
            Self::AsyncTungstenite,
            #[cfg(feature = "tokio-websockets")]
            Self::TokioWebsockets,
        ]
    }

    /// The name, which is also that of the feature.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokioTungstenite => "tokio-tungstenite",
            Self::AsyncTungstenite => "async-tungstenite",
            Self::TokioWebsockets => "tokio-websockets",
        }
    }

    /// The engine itself.
    ///
    /// # Errors
    /// It is not compiled in.
    pub fn engine(self) -> Result<Arc<dyn Engine>, EngineUnavailable> {
        match self {
            #[cfg(feature = "tokio-tungstenite")]
            Self::TokioTungstenite => Ok(Arc::new(super::tokio_tungstenite::TokioTungstenite)),
            #[cfg(feature = "async-tungstenite")]
            Self::AsyncTungstenite => Ok(Arc::new(super::async_tungstenite::AsyncTungstenite)),
            #[cfg(feature = "tokio-websockets")]
            Self::TokioWebsockets => Ok(Arc::new(super::tokio_websockets::TokioWebsockets)),
            #[allow(unreachable_patterns)] // With every engine compiled in.
            _ => Err(EngineUnavailable(self)),
        }
    }
}

impl Default for WsEngine {
    /// The first of [`compiled`](Self::compiled); [`WsEngine::TokioTungstenite`] when there is none.
    fn default() -> Self {
        Self::compiled().first().copied().unwrap_or(Self::TokioTungstenite)
    }
}

impl fmt::Display for WsEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for WsEngine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        Self::ALL.into_iter().find(|engine| engine.name() == name).ok_or_else(|| UnknownEngine(name.into()))
    }
}

/// An engine that this build does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUnavailable(WsEngine);

impl EngineUnavailable {
    /// The engine asked for.
    #[must_use]
    pub fn engine(&self) -> WsEngine {
        self.0
    }
}

impl std::error::Error for EngineUnavailable {}

impl fmt::Display for EngineUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this build has no WebSocket engine {}; it has ", self.0)?;
        list(f, WsEngine::compiled())
    }
}

/// A name that no engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownEngine(Box<str>);

impl std::error::Error for UnknownEngine {}

impl fmt::Display for UnknownEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no WebSocket engine {:?}; there are ", self.0)?;
        list(f, &WsEngine::ALL)
    }
}

fn list(f: &mut fmt::Formatter<'_>, engines: &[WsEngine]) -> fmt::Result {
    let Some((first, rest)) = engines.split_first() else {
        return f.write_str("none");
    };
    write!(f, "{first}")?;
    rest.iter().try_for_each(|engine| write!(f, ", {engine}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_errors_list_what_there_is() {
        for engine in WsEngine::ALL {
            assert_eq!(engine.name().parse(), Ok(engine));
            match engine.engine() {
                Ok(found) => assert_eq!(found.name(), engine.name()),
                Err(error) => assert!(!WsEngine::compiled().contains(&error.engine()), "{error}"),
            }
        }
        let error = "gorilla".parse::<WsEngine>().unwrap_err();
        assert!(error.to_string().contains("tokio-tungstenite, async-tungstenite, tokio-websockets"));
    }
}
