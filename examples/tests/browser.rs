//! The chat's page in Chromium, driven as a person would: what is asserted is what the window shows.
//!
//! `cargo xtask browser` installs the browser where it is missing, and runs this.

#[path = "browser/network.rs"]
mod network;
#[path = "browser/page.rs"]
mod page;
// The chat's own tests use the rest.
#[allow(dead_code, unused_imports)]
#[path = "chat/support.rs"]
mod support;
#[path = "browser/webdriver.rs"]
mod webdriver;

use network::{Network, chat};
use page::Page;
use serde_json::json;
use support::{Client, direct, sent};
use webdriver::Browser;

#[tokio::test]
async fn two_windows_talk() {
    let addr = chat().await;
    let browser = Browser::start().await;
    let alice = Page::sign_in(&browser, addr, "alice").await;
    let bob = Page::sign_in(&browser, addr, "bob").await;

    // Markup is text, and no script of it runs.
    let hostile = r#"<img src=x onerror="alert(1)"> <b>ö ☕</b>"#;
    alice.open_conversation("bob", "@data-online='true'").await;
    alice.write(hostile).await;
    alice.sees_message("alice", hostile, "delivered").await;
    bob.open_conversation("alice", "@data-unread='1'").await;
    bob.sees_message("alice", hostile, "received").await;
    bob.write("got it").await;
    bob.sees_message("bob", "got it", "delivered").await;
    alice.sees_message("bob", "got it", "received").await;

    for page in [&alice, &bob] {
        page.join_room("tea").await;
    }
    alice.sees("*[@data-testid='subtitle' and .='alice, bob']").await;
    alice.write("anyone?").await;
    alice.sees_message("alice", "anyone?", "sent").await;
    bob.sees_message("alice", "anyone?", "received").await;

    // Violations of the content security policy and exceptions would stand there.
    assert_eq!(browser.errors().await, [""; 0]);
}

#[tokio::test]
async fn a_window_that_was_closed_gets_what_it_missed() {
    let addr = chat().await;
    let browser = Browser::start().await;
    let alice = Page::sign_in(&browser, addr, "alice").await;
    let bob = Page::sign_in(&browser, addr, "bob").await;
    alice.open_conversation("bob", "@data-online='true'").await;
    alice.write("before").await;
    alice.sees_message("alice", "before", "delivered").await;

    bob.close().await;
    alice.sees("*[@data-testid='user-bob' and @data-online='false']").await;
    for text in ["one", "two", "three"] {
        alice.write(text).await;
        alice.sees_message("alice", text, "sent").await;
    }

    let bob = Page::sign_in(&browser, addr, "bob").await;
    // With the one from before, which this browser has kept.
    bob.open_conversation("alice", "@data-unread='4'").await;
    for text in ["one", "two", "three"] {
        alice.sees_message("alice", text, "delivered").await;
    }
    assert_eq!(bob.texts().await, ["before", "one", "two", "three"]);
}

#[tokio::test]
async fn a_window_whose_network_was_cut_comes_back_by_itself() {
    let addr = chat().await;
    let network = Network::start(addr).await;
    let browser = Browser::start().await;
    let alice = Page::sign_in(&browser, addr, "alice").await;
    let bob = Page::sign_in(&browser, network.addr(), "bob").await;
    alice.open_conversation("bob", "@data-online='true'").await;
    bob.open_conversation("alice", "@data-online='true'").await;

    network.cut();
    bob.sees_status("offline").await;
    alice.sees("*[@data-testid='user-bob' and @data-online='false']").await;
    alice.write("are you there?").await;
    alice.sees_message("alice", "are you there?", "sent").await;
    bob.write("I am offline").await;
    bob.sees_message("bob", "I am offline", "waiting").await;

    network.mend();
    bob.sees_status("online").await;
    bob.sees_message("alice", "are you there?", "received").await;
    bob.sees_message("bob", "I am offline", "delivered").await;
    alice.sees_message("alice", "are you there?", "delivered").await;
    alice.sees_message("bob", "I am offline", "received").await;
    assert_eq!(alice.texts().await, ["are you there?", "I am offline"]);
    assert_eq!(bob.texts().await, ["I am offline", "are you there?"]);
}

#[tokio::test]
async fn a_second_login_takes_over_and_the_first_window_stays_away() {
    let addr = chat().await;
    let browser = Browser::start().await;
    let bob = Page::sign_in(&browser, addr, "bob").await;
    let first = Page::sign_in(&browser, addr, "alice").await;
    first.watch_timers().await;
    first.open_conversation("bob", "@data-online='true'").await;
    first.write("from the first").await;
    first.sees_message("alice", "from the first", "delivered").await;

    let second = Page::sign_in(&browser, addr, "alice").await;
    let banner = |text: &str| {
        format!(
            "*[@data-testid='banner' and not(@hidden)]//*[@data-testid='banner-text' and contains(., '{text}')]"
        )
    };
    first.sees(&banner("Signed in elsewhere")).await;
    first.sees_status("ended").await;
    first.sees("*[@data-testid='message-input' and @disabled]").await;
    // Nothing is left in the page that could make it come back by itself, nor does a sign of life make it.
    assert_eq!(first.running_timers().await, 0);
    first.look_at().await;

    second.open_conversation("bob", "@data-online='true'").await;
    second.write("from the second").await;
    second.sees_message("alice", "from the second", "delivered").await;
    bob.open_conversation("alice", "@data-unread='2'").await;
    assert_eq!(bob.texts().await, ["from the first", "from the second"]);
    first.sees_status("ended").await;
    second.sees_status("online").await;

    // Only its user brings it back, and then the other window stands back.
    first.click("*[@data-testid='banner-button']").await;
    first.sees_status("online").await;
    second.sees(&banner("Signed in elsewhere")).await;
    second.sees_status("ended").await;
}

#[tokio::test]
async fn a_name_in_a_link_signs_nobody_in() {
    let addr = chat().await;
    let browser = Browser::start().await;
    let bob = Page::sign_in(&browser, addr, "bob").await;

    let visitor = Page::open(&browser, addr, "/?name=bob").await;
    assert_eq!(visitor.asked_name().await.as_deref(), Some("bob"));
    bob.sees_status("online").await;

    // The visitor says yes to it. The window keeps the name, and the link no longer counts.
    visitor.click("*[@data-testid='name-submit']").await;
    visitor.is_signed_in("bob").await;
    bob.sees_status("ended").await;
    visitor.reload().await;
    visitor.is_signed_in("bob").await;
    assert_eq!(browser.errors().await, [""; 0]);
}

#[tokio::test]
async fn an_id_with_quotes_and_brackets_is_an_id_like_others() {
    let addr = chat().await;
    let url = |name: &str| format!("ws://{addr}/ws?uid={name}");
    let browser = Browser::start().await;
    // Another client of alice's makes up such an id; her browser has the message under it.
    let cid = r#"x"] :not( \"#;
    let mut alice = Client::login(&url("alice")).await;
    alice.send(&direct("bob", "hello", cid)).await;
    assert_eq!(alice.next().await, sent(cid));
    alice.close().await;
    let message = json!({ "cid": cid, "from": "alice", "text": "hello", "at": 0, "state": "sent" });
    let conversation = json!({
        "key": "direct:bob", "kind": "direct", "name": "bob", "messages": [message], "unread": 0, "joined": false, "draft": "",
    });
    let window = Page::open(&browser, addr, "/").await;
    window.store("alice", &json!({ "conversations": [conversation], "outbox": [] })).await;

    let alice = Page::sign_in(&browser, addr, "alice").await;
    alice.open_conversation("bob", "@data-unread='0'").await;
    alice.sees_message("alice", "hello", "sent").await;
    let bob = Client::login(&url("bob")).await.read_on();
    alice.sees_message("alice", "hello", "delivered").await;
    assert_eq!(browser.errors().await, [""; 0]);
    drop(bob);
}
