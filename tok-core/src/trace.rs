//! The one place that knows whether `tracing` is compiled in.

#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($rest:tt)*) => { ::tracing::event!(target: "tok", ::tracing::Level::$level, $($rest)*) };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, $($name:ident = $kind:tt $value:expr,)* $text:literal) => {{ $( let _ = &$value; )* }};
}

pub(crate) use event;
