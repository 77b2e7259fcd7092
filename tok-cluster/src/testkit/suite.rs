/// Runs one rule; what the macros expand to.
#[doc(hidden)]
pub fn check<'a, F: 'a>(
    make: impl AsyncFnOnce() -> F + 'a,
    block_on: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>),
    rule: impl AsyncFnOnce(&F) + 'a,
) {
    block_on(Box::pin(async {
        let fixture = make().await;
        rule(&fixture).await;
    }));
}

/// Expands to one `#[test]` for each rule of the suite of [`Registry`](crate::Registry); see
/// [`testkit`](crate::testkit).
#[macro_export]
macro_rules! registry_conformance {
    ($make:expr, block_on = $block_on:expr $(,)?) => {
        $crate::__registry_rules!(__cluster_tests, ($make, $block_on, registry));
    };
}

/// Expands to one `#[test]` for each rule of the suite of [`Bus`](crate::Bus); see [`testkit`](crate::testkit).
#[macro_export]
macro_rules! bus_conformance {
    ($make:expr, block_on = $block_on:expr $(,)?) => {
        $crate::__bus_rules!(__cluster_tests, ($make, $block_on, bus));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cluster_tests {
    (($make:expr, $block_on:expr, $suite:ident) $($rule:ident)*) => {$(
        #[test]
        fn $rule() {
            $crate::testkit::check($make, $block_on, $crate::testkit::$suite::rules::$rule);
        }
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __cluster_table {
    (() $($rule:ident)*) => {
        &[$(Rule { name: stringify!($rule), check: |fixture| Box::pin(rules::$rule(fixture)) }),*]
    };
}
