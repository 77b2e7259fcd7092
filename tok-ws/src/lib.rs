//! WebSocket for tok: strict upgrade on hyper, interchangeable engines.
