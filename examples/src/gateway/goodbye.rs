//! What a session is told before the server closes it.

use tok_core::{CloseReason, Message, Session};

use super::login::FRAMES_ONLY;

/// The goodbye. A WebSocket client sees the close code too; over frames alone the line has to say everything.
pub(super) fn goodbye(session: &Session, reason: CloseReason) -> Option<Message> {
    let frames_only = || session.device().meta(FRAMES_ONLY).is_some();
    let line = match reason {
        CloseReason::Sso
        | CloseReason::Kicked
        | CloseReason::Draining
        | CloseReason::Slow
        | CloseReason::Idle => format!("!bye {reason}"),
        CloseReason::TooBig if frames_only() => {
            format!("!error message over {} bytes", session.hub().max_message())
        }
        CloseReason::Protocol if frames_only() => "!error malformed frame".to_owned(),
        CloseReason::Full if frames_only() => "!error the server is full".to_owned(),
        CloseReason::Unavailable | CloseReason::Panicked if frames_only() => {
            "!error the server failed".to_owned()
        }
        _ => return None,
    };
    Some(line.into())
}
